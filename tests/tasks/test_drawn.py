"""The synthetic tasks: solvers against plain Python, chance, and lengths."""

import itertools
import math

import pytest
import torch
from answers import check_chance, check_reproducible, check_solved_line, draw, name_of

from seqmodels import tasks
from seqmodels.batches import generator_for
from seqmodels.tasks import Adding, CopyMemory, Digits, DrawnTask, ParityCheck, Sine
from seqmodels.tasks.formal import AnBn
from seqmodels.tasks.task import IGNORED


def batch(task, split, index, size):
    return task.batch(split, index, size, generator_for(0, split, index))


def test_parity_against_counting_on_all_short_and_many_long_inputs():
    task = ParityCheck(length=10)
    for length in range(1, 11):
        inputs = list(itertools.product((0, 1), repeat=length))
        expected = [str(bits).count("1") % 2 for bits in inputs]
        assert task.solve(torch.tensor(inputs)).tolist() == expected
    long = draw(task, 1000, 137)[0]
    assert task.solve(long).tolist() == [len([bit for bit in bits if bit]) % 2 for bits in long.tolist()]
    assert 0.45 < task.solve(long).float().mean() < 0.55  # standard error 0.016


@pytest.mark.parametrize("check", [check_chance, check_solved_line, check_reproducible])
def test_lines_and_batches(check):
    check(ParityCheck(20))


@pytest.mark.parametrize("mixed_lengths", [False, True])
def test_copy_memory_keeps_its_few_rows_of_symbols_apart(mixed_lengths):
    task = CopyMemory([2, 4], symbols=3, mixed_lengths=mixed_lengths)
    held = {
        split: {tuple(row) for i in range(40) for row in batch(task, split, i, 128)[0][:, :3].tolist()}
        for split in ("train", "val", "test")
    }
    assert len(held["train"] | held["val"] | held["test"]) == 8**3
    assert sum(map(len, held.values())) == 8**3
    assert len(held["train"]) > 0.75 * 8**3


@pytest.mark.parametrize(
    ("task", "lengths"),
    [(ParityCheck(9), [1, 30]), (Adding(9), [2, 30]), (Sine(9), [9]), (CopyMemory(5, symbols=3), [1, 20])],
    ids=name_of,
)
def test_measured_chance_agrees_with_exact_chance(task, lengths):
    """4,096 sequences: five standard errors of a coin are 0.04; the rest vary less."""
    for length in lengths:
        measured = DrawnTask.chance_at(task, length)
        assert measured == DrawnTask.chance_at(task, length)
        assert math.isclose(measured, task.chance_at(length), rel_tol=0.08)
    assert DrawnTask.chance_at(ParityCheck(1), 1) != task.chance_at(1)  # measured indeed


def test_measured_chance_knows_the_frequencies_at_each_step():
    class Biased(ParityCheck):
        """The first of two answers is 1 with probability 0.9, the second is always 0, and the third is not scored."""

        every_step = True

        def draw(self, size, length, generator):
            return (torch.rand(size, length, generator=generator) < 0.9).long()

        def solve(self, inputs):
            targets = torch.full_like(inputs, IGNORED)
            targets[:, 0], targets[:, 1] = inputs[:, 0], 0
            return targets

    class Bits(Biased):
        metric_name = "cross_entropy"

    for task, expected in [(Biased(3), 0.95), (Bits(3), (-0.9 * math.log(0.9) - 0.1 * math.log(0.1)) / 2)]:
        assert math.isclose(DrawnTask.chance_at(task, 3), expected, abs_tol=0.02)


def test_measured_chance_is_not_asked_about_the_sequences_it_knows():
    class Many(ParityCheck):
        """One of a thousand equally likely answers: the most frequent of 2,048 has come up ten times, by chance."""

        input_size = output_size = 1000

        def draw(self, size, length, generator):
            return torch.randint(1000, (size, length), generator=generator)

        def solve(self, inputs):
            return inputs[:, 0]

    assert 0 < DrawnTask.chance_at(Many(1), 1) < 0.003


def lengths(task, split, indices):
    return [batch(task, split, i, 1)[0].size(1) for i in indices]


def test_lengths_are_drawn_from_the_range_and_tested_at_another():
    task = ParityCheck([3, 12], test_length=50)
    assert set(lengths(task, "train", range(500))) == set(range(3, 13))
    assert lengths(task, "val", range(3)) == [12] * 3
    assert lengths(task, "test", range(3)) == [50] * 3
    assert lengths(ParityCheck(7), "train", range(5)) == [7] * 5
    assert lengths(ParityCheck(7, doubling_batches=10), "train", range(5)) == [7] * 5


def test_several_test_lengths_take_turns_and_chance_is_their_mean():
    task = CopyMemory(5, test_length=7, test_lengths=[5, 50, 9], symbols=1, classes=2)
    assert lengths(task, "test", range(6)) == [7, 52, 11] * 2  # of the inputs: length + 2 * symbols
    assert math.isclose(task.chance, math.log(2) * (1 / 7 + 1 / 52 + 1 / 11) / 3)
    assert math.isclose(task.solved_at, 0.1 * task.chance)
    assert ParityCheck([1, 5], test_length=7).lengths.tests == [7]
    assert ParityCheck([1, 5]).lengths.tests == [5]


def test_the_names_of_the_test_metrics_end_in_the_length_where_there_are_several():
    assert ParityCheck(5, test_lengths=[40, 80]).tests == ["_at_40", "_at_80"]
    assert ParityCheck(5, test_lengths=[40]).tests == ParityCheck(5).tests == [""]
    assert Digits().tests == [""]
    assert Digits().lengths is None


def test_a_length_is_unseen_where_training_draws_no_sequence_of_that_length():
    task = ParityCheck([5, 20])
    assert [length for length in range(1, 30) if not task.lengths.unseen(length)] == list(range(5, 21))
    task = AnBn([5, 20])  # which draws even lengths
    assert [length for length in range(2, 30) if not task.lengths.unseen(length)] == list(range(4, 22))


def test_a_renamed_task_is_named():
    with pytest.raises(ImportError, match="'Parity' is now called 'ParityCheck'"):
        from seqmodels.tasks import Parity  # noqa: F401
    with pytest.raises(AttributeError, match="did you mean 'Adding'"):
        _ = tasks.Ading


@pytest.mark.parametrize(
    "task",
    [
        ParityCheck([3, 12], mixed_lengths=True),
        Adding([3, 12], mixed_lengths=True),
        CopyMemory([3, 12], symbols=4, mixed_lengths=True),
        Sine([7, 12], mixed_lengths=True),
    ],
    ids=name_of,
)
def test_mixed_batches_are_padded_where_nothing_is_scored(task):
    """Each sequence, cut to its own length, is one of the task, and its targets are those that it has alone."""
    seen = set()
    for index in range(30):
        inputs, targets, own = batch(task, "train", index, 128)
        assert len(inputs) == len(targets) == len(own) == 128
        assert inputs.size(1) == own.max()
        seen |= set(own.tolist())
        assert 2 <= len(own.unique()) <= 8
        for length in own.unique().tolist():
            rows = own == length
            alone = task.solve(inputs[rows, :length])
            found = targets[rows, :length] if task.every_step else targets[rows]
            torch.testing.assert_close(found, alone, rtol=0, atol=0, equal_nan=True)
            assert not inputs[rows, length:].any()
            if task.every_step:
                padding = targets[rows, length:]
                assert padding.isnan().all() if padding.is_floating_point() else (padding == IGNORED).all()
    extra = 8 if isinstance(task, CopyMemory) else 0
    assert seen == set(range(task.lengths.shortest + extra, task.lengths.longest + extra + 1))
    assert len(batch(task, "val", 0, 4)) == 2
    assert len(batch(task, "test", 0, 4)) == 2


def test_mixed_lengths_are_drawn_uniformly_for_any_batch_size():
    task = ParityCheck([1, 10], mixed_lengths=True)
    drawn = torch.cat([batch(task, "train", i, 10)[2] for i in range(1000)])
    counts = drawn.bincount(minlength=11)[1:]
    assert counts.sum() == 10000
    # Two groups of two and six of one: five standard errors are 5 * sqrt(1000 * (2 * 4 + 6) * 0.09).
    assert ((counts - 1000).abs() < 178).all()


@pytest.mark.parametrize("size", [1, 3, 8, 9, 17, 64])
def test_a_batch_of_mixed_lengths_is_shared_out_in_eight_as_far_as_it_goes(size):
    """With so many lengths that all groups have different ones."""
    lengths = batch(ParityCheck([1, 10**5], mixed_lengths=True), "train", 0, size)[2]
    groups = lengths.unique_consecutive(return_counts=True)[1]
    assert len(groups) == min(size, 8)
    assert groups.max() - groups.min() <= 1


def test_mixed_lengths_double_over_training():
    task = ParityCheck([1, 40], doubling_batches=100, mixed_lengths=True)
    for start, bound in [(0, 2), (100, 5), (200, 11), (300, 22), (10**9, 40)]:
        batches = [batch(task, "train", i, 64)[2] for i in range(start, start + 50)]
        longest = max(int(own.max()) for own in batches)
        assert bound - 2 <= longest <= bound


def test_lengths_double_over_training():
    task = ParityCheck([1, 40], doubling_batches=100)
    longest = [max(lengths(task, "train", range(start, start + 50))) for start in (0, 100, 200, 300, 400, 10**9)]
    assert longest[0] == 2
    assert all(bound <= limit for bound, limit in zip(longest, (2, 5, 11, 22, 40, 40), strict=True))
    assert all(bound >= limit for bound, limit in zip(longest, (2, 4, 8, 14, 30, 36), strict=True))
    assert min(lengths(task, "train", range(600, 900))) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ParityCheck(0), "length should be a positive whole number, got 0"),
        (lambda: ParityCheck("forty"), "length should be a whole number or a range"),
        (lambda: ParityCheck([5]), "range"),
        (lambda: ParityCheck([9, 3]), r"range \[shortest, longest\], got \[9, 3\]"),
        (lambda: ParityCheck([1, 2.5]), "got 2.5"),
        (lambda: ParityCheck(5, test_length=0), "test_length should be a positive whole number, got 0"),
        (lambda: ParityCheck([1, 5], doubling_batches=0), "doubling_batches should be a positive whole number"),
        (
            lambda: ParityCheck(5, test_lengths=[]),
            r"test_lengths should be a list of lengths such as \[40, 80\], got \[\]",
        ),
        (lambda: ParityCheck(5, test_lengths=7), "test_lengths should be a list of lengths .* got 7"),
        (lambda: ParityCheck(5, test_lengths=[7, 0]), "test_lengths should be a positive whole number, got 0"),
        (lambda: ParityCheck(5, test_lengths=[7, 8, 7]), r"test_lengths should name each length once, got \[7, 8, 7\]"),
        (
            lambda: AnBn(40, test_lengths=[40, 41]),
            r"test_lengths should name each length once, got \[40, 41\], which are drawn as \[40, 40\]",
        ),
        (lambda: ParityCheck(5, mixed_lengths="yes"), "mixed_lengths should be True or False, got 'yes'"),
        (lambda: Adding(5, halves=2), "halves should be True or False, got 2"),
        (lambda: Adding(5, test_lengths=[1]), "test_lengths should be a whole number of at least 2, got 1"),
        (lambda: Sine(50, test_lengths=[5]), "test_lengths should be a whole number of at least 6, got 5"),
    ],
)
def test_refuses_impossible_lengths_and_knobs(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()
