"""The signals: solvers against the equations they were drawn from, chance, and refused arguments."""

import itertools
import math
import random

import numpy as np
import pytest
import torch
from answers import check_chance, check_reproducible, check_solved_line, draw

from seqmodels.tasks.signals import NARMA10, DampedOscillator, Lorenz, MackeyGlass, Sine

TASKS = {
    "sine": Sine(50),
    "sine-3": Sine(50, components=3, ahead=2),
    "damped_oscillator": DampedOscillator(30),
    "damped_oscillator-4": DampedOscillator(20, ahead=4),
    "mackey_glass": MackeyGlass(60),
    "mackey_glass-2": MackeyGlass(30, tau=20, ahead=2),
    "lorenz": Lorenz(40),
    "lorenz-3": Lorenz(20, ahead=3),
    "narma10": NARMA10(40),
}
SIGNALS = [name for name in TASKS if name != "narma10"]


@pytest.mark.parametrize("name", SIGNALS)
def test_targets_are_how_the_drawn_signal_goes_on(name):
    """Up to rounding: inputs are known to single precision, and the sines' coefficients are fitted to them."""
    task = TASKS[name]
    for length in (task.min_length, task.min_length + 7, task.lengths.longest):
        signal, _ = draw(task, 1000, length + task.ahead)
        targets = task.solve(signal[:, :length])
        known = task.min_length - 1
        assert targets.shape == (1000, length, task.output_size)
        assert targets[:, :known].isnan().all()
        expected = [signal[:, step + 1 : step + 1 + task.ahead].flatten(1) for step in range(known, length)]
        fitted = isinstance(task, Sine | DampedOscillator)
        if fitted and length < 20:
            continue  # so few equations leave the coefficients inexact; see the next tests
        tolerance = 1e-4 if fitted else 1e-5
        torch.testing.assert_close(targets[:, known:], torch.stack(expected, dim=1), rtol=0, atol=tolerance)


@pytest.mark.parametrize("length", [6, 7, 12, 30])
@pytest.mark.parametrize("kind", ["sine", "damped_oscillator"])
def test_swings_are_solved_in_double_precision_whoever_drew_them(kind, length):
    generator = random.Random(0)
    task = Sine(length, ahead=2) if kind == "sine" else DampedOscillator(length, ahead=2)
    for _ in range(100):
        sines = [
            (generator.uniform(0.5, 1), i * 0.5 + generator.uniform(0.2, 0.6), generator.uniform(0, 6)) for i in (0, 1)
        ]
        damping = 0.0
        if kind == "damped_oscillator":
            sines, damping = sines[:1], generator.uniform(0.01, 0.1)
        signal = [sum(a * math.exp(-damping * t) * math.cos(w * t + p) for a, w, p in sines) for t in range(length + 2)]
        targets = task.solve(torch.tensor(signal[:-2], dtype=torch.float64).reshape(1, length, 1))
        assert targets[0, -1].tolist() == pytest.approx(signal[-2:], abs=1e-6)
        if length > task.min_length:
            assert targets[0, -2].tolist() == pytest.approx(signal[-3:-1], abs=1e-6)


@pytest.mark.parametrize("length", [6, 7, 50])
def test_swings_that_many_recurrences_continue_are_solved_as_well(length):
    """Silence, a constant, one sine where two may be: the equations leave a choice that must not spoil the answer."""
    times = torch.arange(length + 2, dtype=torch.float64)
    signals = torch.stack([0 * times, 0 * times + 1, 0 * times + 1000, torch.cos(0.7 * times)])
    for task in (Sine(length, ahead=2), DampedOscillator(length, ahead=2)):
        answers = task.solve(signals[:, :-2, None])[:, -1]
        torch.testing.assert_close(answers, signals[:, -2:], rtol=1e-6, atol=1e-6)


def mackey_glass(values, tau):
    return values[-1] + 0.2 * values[-1 - tau] / (1 + values[-1 - tau] ** 10) - 0.1 * values[-1]


def lorenz(point):
    x, y, z = 8.5 * point[0], 9.7 * point[1], 26 + 8.3 * point[2]
    x, y, z = x + 0.02 * 10 * (y - x), y + 0.02 * (x * (28 - z) - y), z + 0.02 * (x * y - 8 / 3 * z)
    return [x / 8.5, y / 9.7, (z - 26) / 8.3]


def narma10(noise):
    u, y = dict(enumerate(noise)), {0: 0.0}
    for t in range(len(noise)):
        total = sum(y.get(t - i, 0) for i in range(10))
        y[t + 1] = min(1.0, 0.3 * y[t] + 0.05 * y[t] * total + 1.5 * u.get(t - 9, 0) * u[t] + 0.1)
    return [y[t + 1] for t in range(len(noise))]


@pytest.mark.parametrize(("tau", "length"), [(17, 18), (17, 40), (1, 2), (5, 20)])
def test_mackey_glass_steps_the_map_from_the_inputs_alone(tau, length):
    task = MackeyGlass(length, tau=tau, ahead=2)
    inputs, targets = draw(task, 1000)
    expected = np.empty((1000, length - tau, 2))
    for row, values in enumerate(inputs[:, :, 0].numpy().tolist()):
        for step in range(tau, length):
            first = mackey_glass(values[: step + 1], tau)
            expected[row, step - tau] = first, mackey_glass([*values[: step + 1], first], tau)
    np.testing.assert_allclose(targets[:, tau:], expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("tau", [1, 2, 4])
def test_mackey_glass_on_all_small_inputs(tau):
    rows = list(itertools.product((0.0, 0.5, 1.0, 1.5), repeat=5))
    inputs = torch.tensor(rows, dtype=torch.float64).unsqueeze(2)
    targets = MackeyGlass(5, tau=tau, ahead=2).solve(inputs)
    for row, target in zip(rows, targets[:, -1].tolist(), strict=True):
        first = mackey_glass(row, tau)
        assert target == pytest.approx([first, mackey_glass([*row, first], tau)], abs=1e-12)
    for step in range(tau, 4):
        assert targets[:, step, 0].tolist() == [row[step + 1] for row in rows]


def test_mackey_glass_begins_anywhere_in_its_swing_and_is_chaotic():
    inputs, _ = draw(MackeyGlass(60), 4000)
    assert 0.3 < inputs.min() < 0.5
    assert 1.2 < inputs.max() < 1.4
    means, overall = inputs[:, :, 0].mean(0), inputs.var()
    assert means.var() < 0.01 * overall
    assert len(inputs[:, 0].unique()) > 3900


@pytest.mark.parametrize("length", [1, 2, 30])
def test_lorenz_steps_the_map_from_the_inputs_alone(length):
    inputs, targets = draw(Lorenz(length, ahead=2), 1000)
    firsts = [lorenz(point) for points in inputs.numpy().tolist() for point in points]
    expected = [first + lorenz(first) for first in firsts]
    np.testing.assert_allclose(targets.reshape(-1, 6), expected, rtol=0, atol=1e-5)


def test_lorenz_on_a_grid_and_on_its_attractor():
    grid = list(itertools.product([-2 + 0.4 * i for i in range(11)], repeat=3))
    targets = Lorenz(1, ahead=2).solve(torch.tensor(grid, dtype=torch.float64).unsqueeze(1))
    expected = [lorenz(point) + lorenz(lorenz(point)) for point in grid]
    np.testing.assert_allclose(targets[:, 0], expected, rtol=0, atol=1e-12)
    points, _ = draw(Lorenz(500), 2000)
    late = points[:, 100:].flatten(0, 1)
    assert (late.mean(0).abs() < 0.05).all()
    assert ((late.std(0) - 1).abs() < 0.05).all()
    assert points.abs().max() < 6


@pytest.mark.parametrize("length", [1, 9, 10, 11, 50])
def test_narma_against_its_equation(length):
    inputs, targets = draw(NARMA10(max(length, 30)), 1000, length)
    assert 0 <= inputs.min() < 0.01
    assert 0.49 < inputs.max() <= 0.5
    expected = [narma10(noise) for noise in inputs[:, :, 0].numpy().tolist()]
    np.testing.assert_allclose(targets[:, :, 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [10, 11, 40])
def test_narma_baseline_is_the_best_weighted_sum(length):
    """On other sequences than it was fitted to; as good as a fit to those in NumPy, within sampling error."""
    inputs, targets = draw(NARMA10(length), 4000, length)
    noise, answers = inputs[:, :, 0].double().numpy(), targets[:, :, 0].double().numpy()
    noise = np.concatenate([np.zeros((4000, 9)), noise], axis=1)
    features = np.stack([noise[:, lag : lag + length].ravel() for lag in range(10)] + [np.ones(4000 * length)], axis=1)
    weights, *_ = np.linalg.lstsq(features, answers.ravel(), rcond=None)
    best = ((features @ weights - answers.ravel()) ** 2).mean()
    assert NARMA10(length).baselines["linear"] == pytest.approx(best, rel=0.1)


def test_narma_baseline_is_the_mean_over_test_lengths():
    alone = [NARMA10(length).baselines["linear"] for length in (20, 60)]
    task = NARMA10(30, test_lengths=[20, 60])
    assert task.baselines["linear"] == pytest.approx(sum(alone) / 2)
    assert task.solved_at == pytest.approx(0.05 * sum(alone))


def test_narma_on_all_inputs_at_the_edges():
    rows = list(itertools.product((0.0, 0.5), repeat=11))
    rows = [[*row, *[0.5] * 12] for row in rows]  # then the strongest drive: some reach the limit of 1
    targets = NARMA10(30).solve(torch.tensor(rows, dtype=torch.float64).unsqueeze(2))[:, :, 0]
    np.testing.assert_allclose(targets, [narma10(row) for row in rows], rtol=0, atol=1e-12)
    assert 0.1 < (targets[:, -1] == 1).double().mean() <= 1


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("check", [check_chance, check_solved_line, check_reproducible])
def test_lines_and_batches(name, check):
    check(TASKS[name])


@pytest.mark.parametrize("name", SIGNALS)
def test_persistence_is_to_answer_with_the_last_value(name):
    task = TASKS[name]
    inputs, targets = draw(task, 4096, seed=9)
    parts = targets[:, task.min_length - 1 :].unflatten(2, (task.ahead, -1))
    error = ((parts - inputs[:, task.min_length - 1 :, None]) ** 2).mean().item()
    assert math.isclose(task.baselines["persistence"], error, rel_tol=0.1)
    assert not task.is_solved(task.baselines["persistence"])


def test_persistence_of_one_sine_by_arithmetic():
    """E (x_{t+1} - x_t)^2 = E[a^2] E[1 - cos w], with the uniform amplitudes and frequencies of the task."""
    expected = 7 / 12 * (1 - (math.sin(1.2) - math.sin(0.2)))
    assert math.isclose(Sine(50, components=1).baselines["persistence"], expected, rel_tol=0.1)


def test_narma_is_compared_with_the_best_linear_answer():
    task = TASKS["narma10"]
    inputs, targets = draw(task, 2000, seed=9)
    rows = torch.nn.functional.pad(inputs[:, :, 0], (9, 0)).unfold(1, 10, 1).reshape(-1, 10)
    design = torch.cat([rows, torch.ones(len(rows), 1)], dim=1).double()
    answers = targets.reshape(-1, 1).double()
    weights = torch.linalg.solve(design.T @ design, design.T @ answers)  # the normal equations
    error = ((design @ weights - answers) ** 2).mean().item()
    assert math.isclose(task.baselines["linear"], error, rel_tol=0.05)
    assert not task.is_solved(task.baselines["linear"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sine(5, components=2), "length should be a whole number of at least 6, got 5"),
        (lambda: Sine(5, components=0), "components should be a positive whole number, got 0"),
        (lambda: Sine(9, ahead=0), "ahead should be a positive whole number, got 0"),
        (lambda: DampedOscillator(3), "length should be a whole number of at least 4, got 3"),
        (lambda: MackeyGlass(17), "length should be a whole number of at least 18, got 17"),
        (lambda: MackeyGlass(17, tau=0), "tau should be a positive whole number, got 0"),
        (lambda: Lorenz(0), "length should be a positive whole number, got 0"),
        (lambda: Lorenz(9, ahead=1.5), "ahead should be a positive whole number, got 1.5"),
        (lambda: NARMA10(9), "length should be a whole number of at least 10, got 9"),
        (lambda: Lorenz(2**63), r"length should be a whole number below 2\^63, got 9223372036854775808"),
    ],
)
def test_refuses_impossible_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
