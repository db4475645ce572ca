"""Batches are a pure function of (seed, split, index)."""

import random

import pytest
import torch
from torch.utils.data import DataLoader

from seqmodels.config import CONF, compose, instantiate
from seqmodels.data import SequenceData

TASKS = sorted(file.stem for file in (CONF / "task").glob("*.yaml") if file.stem != "csv")


def data_of(task_name, *overrides, **arguments):
    task = instantiate(compose(f"task={task_name}", *overrides).task, "task")
    return SequenceData(task, **{"train_batches": 12, "batch_size": 16, "eval_batches": 3} | arguments)


def same(batches, others):
    return all(
        torch.equal(part.nan_to_num(), other.nan_to_num())
        for batch, other_batch in zip(batches, others, strict=True)
        for part, other in zip(batch, other_batch, strict=True)
    )


@pytest.mark.parametrize("task_name", TASKS)
def test_equal_seeds_and_indices_give_equal_batches_in_any_order(task_name):
    torch.manual_seed(0)
    batches = data_of(task_name, seed=5).batches("train")
    forwards = [batches[i] for i in range(12)]
    torch.manual_seed(99)
    again = data_of(task_name, seed=5).batches("train")
    assert same(forwards, [again[i] for i in reversed(range(12))][::-1])
    assert not same(forwards[1:2], [data_of(task_name, seed=6).batches("train")[1]])


def test_workers_change_nothing():
    data = {workers: data_of("parity", num_workers=workers) for workers in (0, 2)}
    loaders = [data[0].train_dataloader(), data[2].train_dataloader()]
    assert all(isinstance(loader, DataLoader) for loader in loaders)
    assert same(*(list(loader) for loader in loaders))


@pytest.mark.parametrize("task_name", TASKS)
def test_no_sequence_is_shared_between_splits(task_name, tmp_path):
    """Of long enough sequences: short ones of few symbols repeat by chance, as they do within a split.

    The text is one that does not repeat itself, as source code does.
    """
    overrides = []
    if task_name == "noiseless_memory":  # of the 5-bit problem there are 32 sequences, for all splits
        overrides = ["task.symbols=10", "task.classes=5"]
    if task_name == "text":
        letters = random.Random(0).choices("abcdefgh", k=20000)
        (tmp_path / "letters.txt").write_text("".join(letters))
        overrides = [f"task.path={tmp_path / 'letters.txt'}"]
    data = data_of(task_name, *overrides, batch_size=64, train_batches=100)
    seen = {}
    for split in ("train", "val", "test"):
        batches = data.batches(split)
        sequences = [inputs for i in range(len(batches)) for inputs in batches[i][0]]
        seen[split] = {sequence.numpy().tobytes() for sequence in sequences if len(sequence) > 7}
        assert seen[split] or task_name == "parity"
    assert not seen["train"] & seen["val"]
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]


def test_given_data_are_evaluated_whole():
    data = data_of("digits", batch_size=128)
    assert sum(len(targets) for _, targets in data.test_dataloader()) == 300
    assert [len(targets) for _, targets in data.val_dataloader()] == [128, 128, 44]


@pytest.mark.parametrize(
    "arguments", [{"batch_size": 0}, {"eval_batches": -1}, {"num_workers": -2}, {"seed": -1}, {"train_batches": 0}]
)
def test_refuses_impossible_numbers(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} should be a whole number"):
        data_of("parity", **arguments)
