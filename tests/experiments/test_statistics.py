"""Intervals and tests over seeds, against arithmetic by hand and against simulated results whose truth is known."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from seqmodels.experiments.comparisons.statistics import expanded, fewest_pairs, holm, interval, p_value, seeds_needed

KINDS = ("normal", "skewed", "bimodal")


def draw(kind, shape, rng, solves=0.5):
    """Scores and their true mean: normal, lognormal, or near one half with some seeds that solve the task."""
    if kind == "normal":
        return rng.normal(size=shape), 0.0
    if kind == "skewed":
        return rng.lognormal(size=shape), math.exp(0.5)
    solved = rng.random(shape) < solves
    scores = np.where(solved, 1 - 0.01 * rng.random(shape), 0.5 + 0.01 * rng.normal(size=shape))
    return scores, solves * 0.995 + (1 - solves) * 0.5


def coverage(kind, seeds, repeats, **options):
    """How often the interval covers the true mean: the arithmetic of `interval`, for many results at once."""
    scores, truth = draw(kind, (repeats, seeds), np.random.default_rng(seeds), **options)
    found = stats.bootstrap(
        (scores,), np.mean, axis=-1, vectorized=True, n_resamples=9999, confidence_level=expanded([scores[0]]),
        method="percentile", batch=500, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    if kind == "normal":  # the others have few values, between which a percentile can jump
        low, high = interval([scores[0]])
        assert (found.low[0], found.high[0]) == pytest.approx((low, high), abs=0.05 * (high - low))
    return np.mean((found.low <= truth) & (truth <= found.high))


def p_values(differences):
    """The arithmetic of `p_value`, for many results at once: differences (results, seeds)."""
    found = stats.permutation_test(
        (differences,), lambda flipped, axis: np.sum(flipped, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=9999, axis=-1, batch=256, rng=np.random.default_rng(0),
    ).pvalue  # fmt: skip
    assert found[0] == pytest.approx(p_value([differences[0]]), abs=0.02)
    return found


def families_with_a_verdict(kind, seeds, comparisons, repeats):
    """How often at least one of several models is called better or worse than a baseline that it equals."""
    rng = np.random.default_rng(seeds * comparisons)
    baseline, others = (draw(kind, (repeats, count, seeds), rng)[0] for count in (1, comparisons))
    smallest = p_values((others - baseline).reshape(-1, seeds)).reshape(repeats, comparisons).min(1)
    return np.mean(smallest * comparisons <= 0.05)  # by Holm's method, the smallest decides whether there is any


def test_the_interval_of_few_seeds():
    assert np.isnan(interval([np.array([0.7])])).all()
    assert interval([np.array([1.0, 1.0, 1.0])]) == (1.0, 1.0)
    low, high = interval([np.array([0.5, 0.6, 1.0])])
    assert (low, high) == pytest.approx((0.5, 1.0))  # a bootstrap mean cannot go beyond
    assert np.isnan(interval([np.array([0.5, 0.6]), np.array([0.5])])).all()
    assert np.isnan(interval([np.array([0.5, np.nan])])).all()
    assert interval([np.array([0.2, 0.4, 0.3])]) == interval([np.array([0.2, 0.4, 0.3])])


@pytest.mark.parametrize("seeds", [10, 50])
def test_for_normal_scores_the_interval_is_students(seeds):
    scores = stats.norm.ppf((np.arange(seeds) + 0.5) / seeds)
    half = stats.t.isf(0.025, seeds - 1) * np.std(scores, ddof=1) / math.sqrt(seeds)
    assert interval([scores]) == pytest.approx((-half, half), rel=0.06)


def test_the_interval_over_several_tasks_is_that_of_the_mean_of_their_means():
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=5) for _ in range(8)]
    error = math.sqrt(sum(np.var(sample, ddof=1) / 5 for sample in samples)) / 8
    mean = np.mean([sample.mean() for sample in samples])
    half = stats.t.isf(0.025, 30) * error
    assert interval(samples) == pytest.approx((mean - half, mean + half), abs=0.1 * half)
    # a task that is always solved adds no width, and no certainty about the other
    certain, other = np.ones(5), rng.normal(size=5)
    assert expanded([certain, other]) == pytest.approx(expanded([other]))


def test_the_sign_flip_test_by_hand():
    differences = np.array([0.3, 0.1, -0.05, 0.2, 0.4, 0.15, 0.02])
    flips = np.array(list(itertools.product((1, -1), repeat=7)))
    extreme = np.abs(flips @ differences) >= abs(differences.sum()) - 1e-12
    assert p_value([differences]) == pytest.approx(extreme.mean())
    assert p_value([-differences]) == pytest.approx(extreme.mean())
    for pairs in (2, 5, 6, 10):
        assert p_value([np.arange(1.0, pairs + 1)]) == pytest.approx(2 / 2**pairs)
    assert p_value([np.arange(1.0, 4), np.arange(1.0, 4)]) == pytest.approx(2 / 2**6)  # two tasks, three seeds
    assert (p_value([np.zeros(8)]), p_value([np.ones(1)])) == (1, 1)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])
    assert len(holm([])) == 0


def test_as_many_pairs_as_needed_and_not_one_fewer():
    for comparisons in (1, 2, 5, 9, 40, 110):
        needed = fewest_pairs(comparisons)
        assert holm([2 / 2**needed] * comparisons).max() <= 0.05
        assert holm([2 / 2 ** (needed - 1)] * comparisons).min() > 0.05


def test_seeds_needed_reach_the_power_they_promise():
    rng = np.random.default_rng(0)
    pattern = stats.norm.ppf((np.arange(12) + 0.5) / 12)
    differences = [0.8 + pattern / np.std(pattern, ddof=1)]
    needed = int(seeds_needed(differences, 1))
    assert 13 <= needed <= 20
    found = p_values(rng.normal(0.8, 1, size=(300, needed))) <= 0.05
    assert 0.7 < found.mean() < 0.92
    assert seeds_needed([np.array([0.5, 0.5, 0.5])], 1) == 6
    assert seeds_needed([np.array([0.5, 0.5, 0.5])] * 4, 1) == 4  # tasks count, but more seeds than there are
    assert seeds_needed([np.array([1.0, -1.0])], 1) == math.inf
    assert math.isnan(seeds_needed([np.array([1.0])], 1))


def test_the_interval_covers_a_known_mean():
    assert 0.91 < coverage("normal", 10, 400) < 0.98
    assert coverage("normal", 3, 400) < 0.82  # which is why a warning asks for six seeds


def test_equals_are_rarely_told_apart():
    assert families_with_a_verdict("bimodal", 5, 1, 200) == 0
    assert families_with_a_verdict("normal", 8, 5, 200) < 0.1
    assert families_with_a_verdict("bimodal", 8, 1, 400) < 0.09


COVERAGE = {
    "normal": {3: 0.75, 5: 0.92, 6: 0.93, 10: 0.95, 20: 0.95, 50: 0.95},
    "skewed": {3: 0.64, 5: 0.81, 6: 0.83, 10: 0.85, 20: 0.88, 50: 0.91},
    "bimodal": {3: 0.75, 5: 0.94, 6: 0.97, 10: 0.96, 20: 0.96, 50: 0.95},
}
"""As seqmodels/experiments/README.md has it; bimodal: half of the seeds solve the task."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_coverage_by_number_of_seeds(kind):
    for seeds, expected in COVERAGE[kind].items():
        found = coverage(kind, seeds, 1000)
        print(f"{kind}, {seeds} seeds: {found:.3f}")
        assert found == pytest.approx(expected, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("solves", "expected"), [(0.8, {3: 0.48, 5: 0.67, 10: 0.88, 50: 0.95}), (0.9, {5: 0.41, 20: 0.88})]
)
def test_where_nearly_all_seeds_solve_the_task_few_seeds_do_not_cover_the_mean(solves, expected):
    for seeds, share in expected.items():
        found = coverage("bimodal", seeds, 1000, solves=solves)
        print(f"{solves} solve, {seeds} seeds: {found:.3f}")
        assert found == pytest.approx(share, abs=0.04)
        counts = stats.binom(seeds, solves)
        ends = [stats.binomtest(k, seeds).proportion_ci(0.95) for k in range(seeds + 1)]
        exact = sum(counts.pmf(k) for k, end in enumerate(ends) if end.low <= solves <= end.high)
        assert exact >= 0.95  # so the interval of the share solved is the one to read


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("comparisons", [1, 5, 40])
def test_how_often_equals_are_told_apart(kind, comparisons):
    for seeds in (5, 6, 8, 12, 20):
        repeats = 2000 if comparisons == 1 else 200 if comparisons == 40 else 500
        found = families_with_a_verdict(kind, seeds, comparisons, repeats)
        print(f"{kind}, {comparisons} comparisons, {seeds} seeds: {found:.3f}")
        assert found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repeats)
        assert found == 0 or seeds >= fewest_pairs(comparisons)


@pytest.mark.slow
def test_a_clear_difference_is_found():
    """Of two standard deviations between normal scores, and between 20 % and 90 % of seeds that solve a task."""
    rng = np.random.default_rng(0)
    repeats = 500
    expected = {(1, 6): 0.65, (1, 8): 0.93, (1, 10): 0.98, (5, 8): 0.53, (5, 10): 0.79, (5, 20): 1.0, (40, 20): 0.98}
    for (comparisons, seeds), power in expected.items():
        found = p_values(rng.normal(2, 1, (repeats, seeds)) - rng.normal(size=(repeats, seeds)))
        share = np.mean(found * comparisons <= 0.05)
        print(f"two standard deviations, {comparisons} comparisons, {seeds} seeds: {share:.2f}")
        assert share == pytest.approx(power, abs=0.07)
    for (comparisons, seeds), power in {
        (1, 6): 0.35,
        (1, 8): 0.77,
        (1, 12): 0.94,
        (5, 12): 0.75,
        (40, 20): 0.88,
    }.items():
        good, bad = (draw("bimodal", (repeats, seeds), rng, solves)[0] for solves in (0.9, 0.2))
        share = np.mean(p_values(good - bad) * comparisons <= 0.05)
        print(f"90 % against 20 %, {comparisons} comparisons, {seeds} seeds: {share:.2f}")
        assert share == pytest.approx(power, abs=0.07)
