"""Sequences of different lengths, stored one below the other, and batches of them, padded."""

from typing import NamedTuple

import torch
from torch import Tensor

from seqmodels.tasks.task import IGNORED

BUCKETS, LEAST = 8, 64
"""The most buckets, and the fewest sequences in one of them."""


class Ragged(NamedTuple):
    """Sequences in order of length."""

    values: Tensor
    """The steps of all sequences, (steps, features)."""
    targets: Tensor
    """A target for each sequence, or for each step."""
    ends: Tensor
    """The number of steps up to the end of each sequence, (sequences,)."""
    bounds: Tensor
    """The first sequence of each bucket of similar lengths, and the number of all sequences."""

    @property
    def lengths(self) -> Tensor:
        return self.ends.diff(prepend=self.ends.new_zeros(1))

    def batch(self, chosen: Tensor, every_step: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Some sequences (batch, time, features) with their targets and lengths, padded at the end."""
        ends = self.ends[chosen]
        starts = torch.where(chosen > 0, self.ends[chosen - 1], 0)
        lengths = ends - starts
        steps = torch.arange(int(lengths.max()))
        padding = steps >= lengths[:, None]
        rows = (starts[:, None] + steps).masked_fill(padding, 0)
        inputs = self.values[rows].masked_fill(padding[:, :, None], 0)
        if not every_step:
            return inputs, self.targets[chosen], lengths
        targets = self.targets[rows]
        unscored = torch.nan if targets.is_floating_point() else IGNORED
        targets[padding] = unscored
        return inputs, targets, lengths

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """`size` sequences of similar lengths, drawn with replacement: the first from all, the others from its bucket.

        So each sequence is equally likely at each place of a batch.
        """
        first = torch.randint(0, len(self.ends), (), generator=generator)
        bucket = int(torch.searchsorted(self.bounds, first, right=True))
        return torch.randint(int(self.bounds[bucket - 1]), int(self.bounds[bucket]), (size,), generator=generator)


def bounds_of(lengths: Tensor) -> Tensor:
    """Where each bucket of sequences begins, of lengths in ascending order; and their number.

    Sequences of one length share a bucket: files are often sorted by class, and a batch should have several classes.
    """
    count = len(lengths)
    least = max(LEAST, -(-count // BUCKETS))
    bounds = [0]
    for change in (1 + lengths.diff().nonzero()[:, 0]).tolist():
        if change - bounds[-1] >= least and count - change >= least:
            bounds.append(change)
    return torch.tensor([*bounds, count])
