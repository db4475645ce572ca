"""What a few seeds say about a mean, and about the difference between two models.

**Intervals** are 95 % bootstrap intervals of the mean over seeds (percentiles, from `scipy.stats.bootstrap`).
Percentile intervals are too narrow for few seeds, so their level is raised such that they would be right for normal
scores: the expanded percentile interval of Tim Hesterberg, "What Teachers Should Know About the Bootstrap", The
American Statistician, 2015. A bootstrap mean never lies outside the scores that were seen. With fewer than six seeds
the interval can therefore not cover the true mean 95 % of the time, and where all seeds score the same it has no width
at all.

**Differences** are taken between runs of the same seed, on the same task, and tested by flipping their signs
(`scipy.stats.permutation_test`): if two models are equal, each difference could as well have had the other sign. The
test needs no assumption about the distribution of scores. Its smallest p-value for n pairs is 2 / 2^n, so few seeds
can never show a difference. p-values are corrected for the number of comparisons by Sture Holm, "A Simple Sequentially
Rejective Multiple Test Procedure", Scandinavian Journal of Statistics, 1979: if all models are equal, the probability
that any of them is called better or worse is at most 5 %.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

LEVEL = 0.95
"""The coverage of intervals; one minus this is the significance level of tests."""

RESAMPLES = 9999


def interval(samples: Sequence[np.ndarray], level: float = LEVEL) -> tuple[float, float]:
    """The bootstrap interval of the mean, over tasks, of the mean over seeds.

    Args:
        samples: the scores on each task, one for each seed. Seeds are resampled, tasks are not: the interval says
            what other seeds would score on the same tasks.
        level: the share of intervals that should cover the true mean.

    Returns:
        The ends of the interval; NaN if a task has fewer than two seeds.
    """
    if min(map(len, samples)) < 2 or not all(np.isfinite(sample).all() for sample in samples):
        return math.nan, math.nan
    if max(map(np.ptp, samples)) == 0:
        mean = float(np.mean([sample[0] for sample in samples]))
        return mean, mean

    def mean_of_means(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return np.mean([np.mean(sample, axis=axis) for sample in drawn], axis=0)

    found = stats.bootstrap(
        samples,
        mean_of_means,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=expanded(samples, level),
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def expanded(samples: Sequence[np.ndarray], level: float = LEVEL) -> float:
    """The level at which a percentile interval is as wide as Student's, for normal scores.

    Percentiles of the bootstrap are those of a normal distribution whose variance is estimated with a divisor of n.
    They are replaced by those of Student's distribution with the variance estimated with a divisor of n - 1. The
    degrees of freedom are n - 1, and those of Welch and Satterthwaite for several tasks.
    """
    counts = np.array([len(sample) for sample in samples])
    variances = np.array([np.var(sample, ddof=1) for sample in samples]) / counts
    variances = variances if variances.any() else np.ones(len(samples))
    freedom = variances.sum() ** 2 / np.sum(variances**2 / (counts - 1))
    wider = math.sqrt(variances.sum() / np.sum(variances * (counts - 1) / counts))
    return float(1 - 2 * stats.norm.sf(wider * stats.t.isf((1 - level) / 2, freedom)))


def p_value(differences: Sequence[np.ndarray]) -> float:
    """The two-sided p-value of paired differences under the sign-flip test; 1 for fewer than two pairs.

    It is exact for up to 13 pairs, and estimated from 9,999 random flips for more.

    Args:
        differences: the differences on each task, one for each seed. All tasks have the same weight.
    """
    weighted = np.concatenate([sample / len(sample) for sample in differences])
    if len(weighted) < 2 or not weighted.any():
        return 1.0
    found = stats.permutation_test(
        (weighted,),
        lambda flipped, axis: np.sum(flipped, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """The p-values, corrected for their number by Holm's method.

    >>> [round(float(p), 2) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values)
    corrected = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    result = np.empty_like(values)
    result[order] = np.minimum(corrected, 1)
    return result


def fewest_pairs(comparisons: int, level: float = LEVEL) -> int:
    """The fewest pairs with which a difference can be significant, among this many comparisons.

    >>> [fewest_pairs(comparisons) for comparisons in (1, 5, 40)]
    [6, 8, 11]
    """
    return math.ceil(math.log2(2 * comparisons / (1 - level)) - 1e-9)


def seeds_needed(
    differences: Sequence[np.ndarray], comparisons: int, level: float = LEVEL, power: float = 0.8
) -> float:
    """About how many seeds would show, with this power, a difference as large as the one observed.

    The estimate is that of a paired t-test (William Guenther, "Sample Size Formulas for Normal Theory T Tests", The
    American Statistician, 1981), but at least as many as the sign-flip test needs, and more than there are. It is
    infinite where the mean difference is zero, and NaN for fewer than two pairs.
    """
    pairs, tasks = np.concatenate(differences), len(differences)
    if len(pairs) < 2:
        return math.nan
    mean = np.mean([np.mean(sample) for sample in differences])
    if mean == 0:
        return math.inf
    surprise = stats.norm.isf((1 - level) / 2 / comparisons)
    needed = ((surprise + stats.norm.isf(1 - power)) * np.std(pairs, ddof=1) / mean) ** 2 + surprise**2 / 2
    least = max(fewest_pairs(comparisons, level), needed)
    return float(max(math.ceil(least / tasks), min(map(len, differences)) + 1))
