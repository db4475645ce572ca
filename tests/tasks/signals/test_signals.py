"""The signals: their solvers against the equations they were drawn from, their guess lines, and what they refuse."""

import math
import random

import pytest
import torch
from answers import check_guess_line, check_reproducible, check_solved_line, draw

from seqmodels.tasks.signals import Sine

TASKS = [Sine(50), Sine(50, components=3)]


@pytest.mark.parametrize("components", [1, 2, 3])
def test_sine_continues_the_signal(components):
    task = Sine(60, components=components)
    signal, _ = draw(task, 1000, 61)
    targets = task.solve(signal[:, :-1])
    known = 3 * components - 1
    assert targets[:, :known].isnan().all()
    torch.testing.assert_close(targets[:, known:], signal[:, 1 + known :], rtol=0, atol=1e-4)


def test_sine_solves_signals_it_did_not_draw():
    random.seed(0)
    for _ in range(50):
        parts = [(random.uniform(0.5, 1), random.uniform(0.2, 1.2), random.uniform(0, 6)) for _ in range(2)]
        signal = [sum(a * math.sin(w * t + p) for a, w, p in parts) for t in range(31)]
        targets = Sine(30).solve(torch.tensor(signal[:-1], dtype=torch.float64).reshape(1, 30, 1))
        assert math.isclose(targets[0, -1, 0].item(), signal[-1], abs_tol=1e-6)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
@pytest.mark.parametrize("check", [check_guess_line, check_solved_line, check_reproducible])
def test_lines_and_batches(task, check):
    check(task)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Sine(5, components=2), "from 6 on, got 5"),
        (lambda: Sine(5, components=0), "components should be a whole number from 1 on, got 0"),
    ],
)
def test_refuses_impossible_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
