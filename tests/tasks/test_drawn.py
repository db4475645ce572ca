"""The synthetic tasks: their solvers against plain Python, their guess lines, and their lengths."""

import itertools

import pytest
import torch
from answers import check_guess_line, check_reproducible, check_solved_line, draw

from seqmodels.data import generator_for
from seqmodels.tasks import Parity


def test_parity_against_counting_on_all_short_and_many_long_inputs():
    task = Parity(length=10)
    for length in range(1, 11):
        inputs = list(itertools.product((0, 1), repeat=length))
        expected = [str(bits).count("1") % 2 for bits in inputs]
        assert task.solve(torch.tensor(inputs)).tolist() == expected
    long = draw(task, 1000, 137)[0]
    assert task.solve(long).tolist() == [len([bit for bit in bits if bit]) % 2 for bits in long.tolist()]
    assert 0.45 < task.solve(long).float().mean() < 0.55  # standard error .016


@pytest.mark.parametrize("check", [check_guess_line, check_solved_line, check_reproducible])
def test_lines_and_batches(check):
    check(Parity(20))


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
    ],
)
def test_refuses_impossible_lengths_and_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
