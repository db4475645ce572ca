"""The synthetic tasks: their solvers against plain Python, their guess lines, and their lengths."""

import itertools
import math
import random

import numpy as np
import pytest
import torch

from seqmodels.data import generator_for
from seqmodels.tasks import Adding, CopyMemory, Parity, Sine


def draw(task, size, length, seed=0):
    return task.draw(size, length, torch.Generator().manual_seed(seed))


def test_parity_against_counting_on_all_short_and_many_long_inputs():
    task = Parity(length=10)
    for length in range(1, 11):
        inputs = list(itertools.product((0, 1), repeat=length))
        expected = [str(bits).count("1") % 2 for bits in inputs]
        assert task.solve(torch.tensor(inputs)).tolist() == expected
    long = draw(task, 1000, 137)
    assert task.solve(long).tolist() == [len([bit for bit in bits if bit]) % 2 for bits in long.tolist()]
    assert 0.45 < task.solve(long).float().mean() < 0.55  # standard error .016


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("length", [2, 3, 10, 101])
def test_adding_against_a_walk_over_the_marks(length, halves):
    task = Adding(length, halves=halves)
    inputs = draw(task, 1000, length)
    for sequence, target in zip(inputs.tolist(), task.solve(inputs)[:, 0].tolist(), strict=True):
        marked = [number for number, mark in sequence if mark == 1.0]
        assert len(marked) == 2
        assert math.isclose(sum(marked), target, abs_tol=1e-6)
        places = [place for place, (_, mark) in enumerate(sequence) if mark]
        if halves:
            assert places[0] < length // 2 <= places[1]
    if length > 3 and not halves:
        assert inputs[:, :, 1].argmax(1).max() >= length // 2  # both marks may lie in one half


@pytest.mark.parametrize(("length", "symbols", "classes"), [(1, 1, 2), (5, 3, 8), (100, 10, 8)])
def test_copy_memory_against_plain_lists(length, symbols, classes):
    task = CopyMemory(length, symbols=symbols, classes=classes)
    inputs = draw(task, 1000, length)
    assert inputs.shape == (1000, length + 2 * symbols)
    for sequence, target in zip(inputs.tolist(), task.solve(inputs).tolist(), strict=True):
        kept = [token for token in sequence if 1 <= token <= classes]
        assert len(kept) == symbols
        assert sequence == kept + [0] * (length - 1) + [classes + 1] * (symbols + 1)
        assert target == [0] * (length + symbols) + kept


@pytest.mark.parametrize("components", [1, 2, 3])
def test_sine_continues_the_signal(components):
    task = Sine(60, components=components)
    signal = draw(task, 1000, 61)
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


@pytest.mark.parametrize("task", [Adding(20), CopyMemory(20), Parity(20), Sine(50), Sine(50, components=3)], ids=str)
def test_the_best_constant_answer_scores_chance(task):
    """16,384 sequences; five standard errors of the mean over them."""
    inputs, targets = task.batch("test", 0, 16384, generator_for(0, "test", 0))
    if isinstance(task, CopyMemory):  # the blanks are known, the symbols are not
        logits = torch.full((*inputs.shape, task.output_size), -1e9)
        logits[:, : -task.symbols, 0] = 0
        logits[:, -task.symbols :, 1 : task.classes + 1] = 0
        metric = task.metric()
        metric.update(*task.scored(logits, targets))
        assert math.isclose(metric.compute(), task.chance, rel_tol=1e-5)
        return
    constants = [0, 1] if isinstance(task, Parity) else np.linspace(-1, 2, 61)
    scores = []
    for constant in constants:
        answers = torch.zeros(*targets.shape, 2) if isinstance(task, Parity) else torch.full(targets.shape, constant)
        if isinstance(task, Parity):
            answers[..., int(constant)] = 1
        metric = task.metric()
        metric.update(*task.scored(answers.float(), targets))
        scores.append(metric.compute().item())
    best = max(scores) if task.higher_is_better else min(scores)
    assert math.isclose(best, task.chance, abs_tol=0.02 if isinstance(task, Parity) else 0.04 * task.chance)


@pytest.mark.parametrize("task", [Adding(20), CopyMemory(20), Parity(20), Sine(50)], ids=str)
def test_the_solver_counts_as_solved_and_chance_does_not(task):
    inputs, targets = task.batch("test", 0, 100, generator_for(0, "test", 0))
    answers = task.solve(inputs)
    if not targets.is_floating_point():
        answers = torch.nn.functional.one_hot(answers, task.output_size) * 100.0
    metric = task.metric()
    metric.update(*task.scored(answers, targets))
    assert task.is_solved(metric.compute().item())
    assert not task.is_solved(task.chance)


def lengths(task, split, indices):
    return [task.batch(split, i, 1, generator_for(0, split, i))[0].size(1) for i in indices]


def test_lengths_are_drawn_from_the_range_and_tested_at_another():
    task = Parity([3, 12], test_length=50)
    assert set(lengths(task, "train", range(500))) == set(range(3, 13))
    assert lengths(task, "val", range(3)) == [12] * 3
    assert lengths(task, "test", range(3)) == [50] * 3
    assert lengths(Parity(7), "train", range(5)) == [7] * 5
    assert lengths(Parity(7, doubling_batches=10), "train", range(5)) == [7] * 5


def test_lengths_double_over_training():
    task = Parity([1, 40], doubling_batches=100)
    longest = [max(lengths(task, "train", range(start, start + 50))) for start in (0, 100, 200, 300, 400, 10**9)]
    assert longest[0] == 2
    assert all(bound <= limit for bound, limit in zip(longest, (2, 5, 11, 22, 40, 40), strict=True))
    assert all(bound >= limit for bound, limit in zip(longest, (2, 4, 8, 14, 30, 36), strict=True))
    assert min(lengths(task, "train", range(600, 900))) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Parity(0), "length should be a whole number from 1 on, got 0"),
        (lambda: Parity("forty"), "length should be a whole number or a range"),
        (lambda: Parity([5]), "range"),
        (lambda: Parity([9, 3]), r"range \[shortest, longest\], got \[9, 3\]"),
        (lambda: Parity([1, 2.5]), "got 2.5"),
        (lambda: Parity(5, test_length=0), "test_length should be a whole number from 1 on, got 0"),
        (lambda: Parity([1, 5], doubling_batches=0), "doubling_batches should be a whole number from 1 on"),
        (lambda: Adding(1), "from 2 on, got 1"),
        (lambda: Sine(5, components=2), "from 6 on, got 5"),
        (lambda: Sine(5, components=0), "components should be a whole number from 1 on, got 0"),
        (lambda: CopyMemory(5, symbols=0), "symbols should be a whole number from 1 on, got 0"),
        (lambda: CopyMemory(5, classes=1), "classes should be a whole number from 2 on, got 1"),
    ],
)
def test_refuses_impossible_lengths_and_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
