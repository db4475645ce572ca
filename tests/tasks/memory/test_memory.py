"""The memory tasks: their solvers against plain Python, their guess lines, and the knobs they refuse."""

import math

import pytest
from answers import check_guess_line, check_reproducible, check_solved_line, draw

from seqmodels.tasks.memory import Adding, CopyMemory

TASKS = [Adding(20), CopyMemory(20)]


@pytest.mark.parametrize("halves", [True, False])
@pytest.mark.parametrize("length", [2, 3, 10, 101])
def test_adding_against_a_walk_over_the_marks(length, halves):
    inputs, targets = draw(Adding(length, halves=halves), 1000)
    for sequence, target in zip(inputs.tolist(), targets[:, 0].tolist(), strict=True):
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
    inputs, targets = draw(CopyMemory(length, symbols=symbols, classes=classes), 1000)
    assert inputs.shape == (1000, length + 2 * symbols)
    for sequence, target in zip(inputs.tolist(), targets.tolist(), strict=True):
        kept = [token for token in sequence if 1 <= token <= classes]
        assert len(kept) == symbols
        assert sequence == kept + [0] * (length - 1) + [classes + 1] * (symbols + 1)
        assert target == [0] * (length + symbols) + kept


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
@pytest.mark.parametrize("check", [check_guess_line, check_solved_line, check_reproducible])
def test_lines_and_batches(task, check):
    check(task)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Adding(1), "from 2 on, got 1"),
        (lambda: CopyMemory(5, symbols=0), "symbols should be a whole number from 1 on, got 0"),
        (lambda: CopyMemory(5, classes=1), "classes should be a whole number from 2 on, got 1"),
    ],
)
def test_refuses_impossible_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
