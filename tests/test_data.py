"""Batches are a pure function of (seed, split, index)."""

import math

import pytest
import torch
from torch.utils.data import DataLoader

from seqmodels.batches import generator_for
from seqmodels.config import compose, instantiate
from seqmodels.data import SequenceData


def data_of(task_name, *overrides, **arguments):
    task = instantiate(compose(f"task={task_name}", *overrides).task, "task")
    return SequenceData(task, **{"train_batches": 12, "batch_size": 16, "eval_batches": 3} | arguments)


def same(batches, others):
    return all(
        torch.equal(part.nan_to_num(), other.nan_to_num())
        for batch, other_batch in zip(batches, others, strict=True)
        for part, other in zip(batch, other_batch, strict=True)
    )


def test_no_two_batches_of_a_run_begin_alike():
    """Not one pair among 60,000: seeds of 32 bits drawn at random would agree in about one run of three."""
    streams = [(split, index) for split in ("train", "val", "test") for index in range(20_000)]
    for seed in (0, 1, 2**32 - 1):
        seeds = {generator_for(seed, *stream).initial_seed() for stream in streams}
        assert len(seeds) == len(streams)
        assert max(seeds) < 2**32, "torch reads 32 bits of a seed, so there should be no more"


def test_another_seed_has_other_batches():
    streams = [(seed, split, index) for seed in range(50) for split in ("train", "val", "test") for index in range(20)]
    assert len({tuple(torch.rand(2, generator=generator_for(*stream)).tolist()) for stream in streams}) == len(streams)


@pytest.mark.parametrize("first", [(1, "train", 0), (1, "test", 0), (2**32 - 1, "train", 10**6)])
def test_generators_of_neighbours_are_unrelated(first):
    """1,000 neighbouring batches: their first numbers are uniform, and do not follow from one another."""
    seed, split, index = first
    numbers = torch.stack([torch.rand(4, generator=generator_for(seed, split, index + i)) for i in range(1000)]) - 0.5
    assert numbers.mean(dim=0).abs().max() < 5 / math.sqrt(12 * 1000)
    assert abs((numbers[1:] * numbers[:-1]).mean(dim=0) * 12).max() < 5 / math.sqrt(1000)


def test_workers_change_nothing():
    data = {workers: data_of("parity_check", num_workers=workers) for workers in (0, 2)}
    loaders = [data[0].train_dataloader(), data[2].train_dataloader()]
    assert all(isinstance(loader, DataLoader) for loader in loaders)
    assert same(*(list(loader) for loader in loaders))


def test_each_test_length_has_batches_of_its_own():
    """The test takes its lengths in turn: the loader of one length has every second batch."""
    data = data_of("parity_check", "task.test_lengths=[30,60]")
    loaders = data.test_dataloader()
    assert [len(loader) for loader in loaders] == [3, 3]
    for position, loader in enumerate(loaders):
        for number, batch in enumerate(loader):
            index = 2 * number + position
            assert batch[0].size(1) == [30, 60][position]
            assert same([batch], [data.task.batch("test", index, 16, generator_for(1, "test", index))])
    first = [[batch[0][:, :30] for batch in loader] for loader in loaders]
    assert not any(torch.equal(*pair) for pair in zip(*first, strict=True))


def test_given_data_are_evaluated_whole():
    data = data_of("digits", batch_size=128)
    assert sum(len(targets) for _, targets in data.test_dataloader()) == 300
    assert [len(targets) for _, targets in data.val_dataloader()] == [128, 128, 44]


@pytest.mark.parametrize(
    "arguments",
    [{"batch_size": 0}, {"eval_batches": -1}, {"num_workers": -2}, {"seed": -1}, {"train_batches": 0}, {"seed": 2**32}],
)
def test_refuses_impossible_numbers(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} should be a .*whole number"):
        data_of("parity_check", **arguments)
