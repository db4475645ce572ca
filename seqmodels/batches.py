"""The batches of a task, for any training loop. Batch i of a split is a pure function of (seed, split, i)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from seqmodels.tasks import Split, Task
from seqmodels.tasks.task import IGNORED

STREAMS: dict[Split, int] = {"train": 0, "val": 1, "test": 2}

MASK = 2**32 - 1


def generator_for(seed: int, split: Split, index: int) -> torch.Generator:
    """The source of all randomness in one batch.

    Torch's CPU generator reads 32 bits of its seed. They differ between all batches of a run, because (split, index) is
    numbered without gaps, below 2^32, and mixed one to one; and between two seeds for the same (split, index).
    """
    stream = len(STREAMS) * index + STREAMS[split]
    # Not the seed itself: 0 would stay 0, and seed 0 also draws the model's weights.
    key = MASK - seed
    return torch.Generator().manual_seed(_mixed(_mixed(stream) ^ _mixed(key)))


def _mixed(bits: int) -> int:
    """MurmurHash3's finalizer: 32 bits to 32 bits, one to one; close numbers end up far apart."""
    bits = (bits ^ bits >> 16) * 0x85EBCA6B & MASK
    bits = (bits ^ bits >> 13) * 0xC2B2AE35 & MASK
    return bits ^ bits >> 16


def joined(outputs: Sequence[Tensor], targets: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The outputs and targets of several batches as one; where their steps differ in number, padded at the end."""

    def join(parts: Sequence[Tensor], padding: float) -> Tensor:
        steps = max(part.shape[1:2] for part in parts)
        return torch.cat([padded(part, steps[0], padding) if steps else part for part in parts])

    return join(outputs, 0), join(targets, torch.nan if targets[0].is_floating_point() else IGNORED)


def padded(part: Tensor, steps: int, padding: float) -> Tensor:
    """A batch (batch, time, ...) with this many steps."""
    missing = steps - part.size(1)
    return torch.cat([part, part.new_full((len(part), missing, *part.shape[2:]), padding)], dim=1) if missing else part


class Batches(Dataset):
    """The batches of a split with the given indices, which any number of workers can share."""

    def __init__(self, task: Task, split: Split, seed: int, size: int, indices: range) -> None:
        self.task, self.split, self.seed, self.size, self.indices = task, split, seed, size, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, ...]:
        index = self.indices[position]
        return self.task.batch(self.split, index, self.size, generator_for(self.seed, self.split, index))
