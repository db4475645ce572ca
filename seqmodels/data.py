"""A task's batches for Lightning. Batch i of a split is a pure function of (seed, split, i)."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seqmodels.tasks import Split, Task
from seqmodels.tasks.task import check_whole

STREAMS: dict[Split, int] = {"train": 0, "val": 1, "test": 2}

MASK = 2**32 - 1


def generator_for(seed: int, split: Split, index: int) -> torch.Generator:
    """The source of all randomness in one batch.

    Torch's CPU generator reads 32 bits of its seed, and no two batches of a run have the same: (split, index) is
    counted without gaps, below 2^32, and mixed one to one. Nor do two seeds have the same batch at the same place.
    """
    stream = len(STREAMS) * index + STREAMS[split]
    key = MASK - seed  # as 0 stays 0 below, and seed 0 gives a model's weights
    return torch.Generator().manual_seed(_mixed(_mixed(stream) ^ _mixed(key)))


def _mixed(bits: int) -> int:
    """MurmurHash3's finalizer: 32 bits to 32 bits, one to one, where close numbers become far ones."""
    bits = (bits ^ bits >> 16) * 0x85EBCA6B & MASK
    bits = (bits ^ bits >> 13) * 0xC2B2AE35 & MASK
    return bits ^ bits >> 16


class Batches(Dataset):
    """The batches of a split that have these indices. Any number of workers may share them out."""

    def __init__(self, task: Task, split: Split, seed: int, size: int, indices: range) -> None:
        self.task, self.split, self.seed, self.size, self.indices = task, split, seed, size, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, ...]:
        index = self.indices[position]
        return self.task.batch(self.split, index, self.size, generator_for(self.seed, self.split, index))


class SequenceData(pl.LightningDataModule):
    """The batches of a task: one pass of `train_batches` for training, the same ones each time to evaluate.

    Args:
        task: what is learned.
        train_batches: how many batches training reads.
        seed: another seed, other batches; 0 to 2^32 - 1.
        batch_size: sequences in a batch.
        eval_batches: batches to validate on, and again to test on at each length, where a task draws its sequences.
            A task with a fixed set of examples is evaluated on all of its split.
        num_workers: processes that prepare batches; 0 prepares them in this one.
    """

    def __init__(
        self,
        task: Task,
        train_batches: int,
        seed: int = 1,
        batch_size: int = 128,
        eval_batches: int = 8,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        check_whole("train_batches", train_batches, 1)
        check_whole("seed", seed, 0)
        if seed > MASK:
            raise ValueError(f"seed should be a whole number from 0 to {MASK}, got {seed}")
        check_whole("batch_size", batch_size, 1)
        check_whole("eval_batches", eval_batches, 1)
        check_whole("num_workers", num_workers, 0)
        self.task, self.train_batches, self.seed = task, train_batches, seed
        self.batch_size, self.eval_batches, self.num_workers = batch_size, eval_batches, num_workers

    def batches(self, split: Split, test: int = 0) -> Batches:
        """Those of a split; where there are several tests, one for each of the task's lengths, those of one of them."""
        examples = self.task.examples(split)
        if split == "train":
            count = self.train_batches
        elif examples is None:
            count = self.eval_batches
        else:
            count = math.ceil(examples / self.batch_size)
        tests = max(len(self.task.test_lengths), 1) if split == "test" else 1
        return Batches(self.task, split, self.seed, self.batch_size, range(test, tests * count, tests))

    def _loader(self, split: Split, test: int = 0) -> DataLoader:
        # batch_size=None: the dataset gives whole batches. The generator keeps the loader away from the global one.
        return DataLoader(
            self.batches(split, test), batch_size=None, num_workers=self.num_workers, generator=torch.Generator()
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader("train")

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader | list[DataLoader]:
        loaders = [self._loader("test", test) for test in range(max(len(self.task.test_lengths), 1))]
        return loaders if len(loaders) > 1 else loaders[0]

    def transfer_batch_to_device(self, batch: tuple[Tensor, ...], device: torch.device, dataloader_idx: int) -> Any:
        # Lightning's own would first look for the tensors in whatever a batch may be.
        return tuple(part.to(device, non_blocking=device.type == "cuda") for part in batch)
