"""A task's batches for Lightning."""

import math
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from seqmodels.batches import Batches
from seqmodels.checks import check_seed, check_whole
from seqmodels.stops import obey_the_main_process_only
from seqmodels.tasks import Split, Task


class Positions(Sampler):
    """The positions 0, 1, ... of batches, from `start` on."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.start = 0

    def __len__(self) -> int:
        return self.count  # of the whole run, because Lightning also counts the batches read before the run was resumed

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.count))


class TrainLoader(DataLoader):
    """A loader that resumes with the first batch that no optimizer step has used."""

    trainer: pl.Trainer | None = None

    def state_dict(self) -> dict[str, int]:
        trainer = self.trainer
        return {"start": 0 if trainer is None else trainer.global_step * trainer.accumulate_grad_batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert isinstance(self.sampler, Positions)
        self.sampler.start = state["start"]


class SequenceData(pl.LightningDataModule):
    """The batches of a task: `train_batches` for training, read once, and a fixed set for each evaluation.

    Args:
        task: the task to learn.
        train_batches: the number of batches that training reads.
        seed: from 0 to 2^32 - 1; each seed has batches of its own.
        batch_size: sequences in a batch.
        eval_batches: batches of validation, and of the test at each length, for tasks that draw their sequences.
            A task with a fixed set of examples is evaluated on the whole split.
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
        check_seed(seed)
        check_whole("batch_size", batch_size, 1)
        check_whole("eval_batches", eval_batches, 1)
        check_whole("num_workers", num_workers, 0)
        self.task, self.train_batches, self.seed = task, train_batches, seed
        self.batch_size, self.eval_batches, self.num_workers = batch_size, eval_batches, num_workers

    def batches(self, split: Split, test: int = 0) -> Batches:
        """The batches of a split; for the test, the batches of number `test` in `task.tests`."""
        examples = self.task.examples(split)
        if split == "train":
            count = self.train_batches
        elif examples is None:
            count = self.eval_batches
        else:
            count = math.ceil(examples / self.batch_size)
        tests = len(self.task.tests) if split == "test" else 1
        return Batches(self.task, split, self.seed, self.batch_size, range(test, tests * count, tests))

    def _loader(self, split: Split, test: int = 0, kind: type[DataLoader] = DataLoader) -> DataLoader:
        # batch_size=None: the dataset returns whole batches. The loader's own generator spares the global one.
        batches = self.batches(split, test)
        return kind(
            batches,
            batch_size=None,
            sampler=Positions(len(batches)),
            num_workers=self.num_workers,
            worker_init_fn=obey_the_main_process_only,
            generator=torch.Generator(),
        )

    def train_dataloader(self) -> DataLoader:
        loader = self._loader("train", kind=TrainLoader)
        loader.trainer = self.trainer
        return loader

    def val_dataloader(self) -> DataLoader:
        return self._loader("val")

    def test_dataloader(self) -> DataLoader | list[DataLoader]:
        loaders = [self._loader("test", test) for test in range(len(self.task.tests))]
        return loaders if len(loaders) > 1 else loaders[0]

    def transfer_batch_to_device(self, batch: tuple[Tensor, ...], device: torch.device, dataloader_idx: int) -> Any:
        # Lightning's own method would first search each batch for tensors.
        return tuple(part.to(device, non_blocking=device.type == "cuda") for part in batch)
