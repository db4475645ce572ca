"""Tasks whose sequences are drawn at random, at any length and without end."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.lengths import Lengths, LengthSettings
from seqmodels.tasks.task import IGNORED, Split, Task

SAMPLE = 4096
"""Sequences from which chance is measured where it is not known exactly."""


class DrawnTask(Task):
    """Base class of the synthetic tasks. A subclass defines `draw` and `solve`, and `chance_at` where it is known.

    Args:
        length: a length, or the shortest and the longest of a range, from which training draws uniformly.
        lengths: the further settings of `Lengths`: test_length, test_lengths, doubling_batches, mixed_lengths.

    Raises:
        TypeError, ValueError: see `Lengths`.
    """

    lengths: Lengths
    min_length: int = 1
    """The shortest length at which the task makes sense."""

    def __init__(self, length: int | Sequence[int], **lengths: Unpack[LengthSettings]) -> None:
        self.lengths = Lengths(length, **lengths, least=self.min_length, fitting=self.fitting)

    @abstractmethod
    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        """`size` random inputs."""

    def fitting(self, length: int) -> int:
        """The length that is drawn in place of `length`: the longest up to it at which the task has sequences."""
        return length

    @abstractmethod
    def solve(self, inputs: Tensor) -> Tensor:
        """The exact targets of any inputs of this task."""

    def draw_for(self, split: Split, size: int, length: int, generator: torch.Generator) -> Tensor:
        """`draw`, overridden by tasks that keep their splits apart by content."""
        return self.draw(size, length, generator)

    @cached_property
    def chance(self) -> float:  # type: ignore[override]
        """Chance in the test: the mean over its lengths, as the test's own score is."""
        return sum(map(self.chance_at, self.lengths.tests)) / len(self.lengths.tests)

    def chance_at(self, length: int) -> float:
        """The best score possible at a length without seeing the input.

        A subclass computes it exactly where it can. Otherwise it is measured on training sequences, always the same
        ones: one half is answered by the class frequencies (for numbers, the mean) of the other half at each scored
        step, and the other way round.
        """
        generator = torch.Generator().manual_seed(0)
        halves = [self.solve(self.draw_for("train", SAMPLE // 2, length, generator)) for _ in range(2)]
        metric = self.metric()
        for known, asked in (halves, reversed(halves)):
            answer = self._best_constant(known)
            for part in asked.split(256):
                metric.update(*self.scored(answer.expand(len(part), *answer.shape), part))
        return metric.compute().item()

    def _best_constant(self, targets: Tensor) -> Tensor:
        """One answer for all sequences, (output_size,) or (time, output_size)."""
        if targets.is_floating_point():
            return targets.nanmean(dim=0).nan_to_num()
        rows = targets.reshape(len(targets), -1)
        cells = rows + self.output_size * torch.arange(rows.size(1))  # each step has a count of each class
        counts = torch.bincount(cells[rows != IGNORED], minlength=self.output_size * rows.size(1))
        # Counts start at one sequence shared by all classes, so that no class is impossible.
        return (counts.view(*targets.shape[1:], self.output_size) + 1 / self.output_size).log()

    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        if split != "train" or not self.lengths.mixed:
            return self._of_one_length(split, index, size, generator)
        sizes = self.lengths.group_sizes(size)
        return self._padded([self._of_one_length(split, index, count, generator) for count in sizes])

    def _of_one_length(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs = self.draw_for(split, size, self.lengths.draw(split, index, generator), generator)
        return inputs, self.solve(inputs)

    def _padded(self, groups: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Groups of sequences, each of one length, as one batch with its lengths."""
        longest = max(inputs.size(1) for inputs, _ in groups)

        def pad(part: Tensor, value: float) -> Tensor:
            missing = longest - part.size(1)
            return torch.cat([part, part.new_full((len(part), missing, *part.shape[2:]), value)], dim=1)

        inputs = torch.cat([pad(inputs, 0) for inputs, _ in groups])
        lengths = torch.cat([torch.full((len(inputs),), inputs.size(1)) for inputs, _ in groups])
        if not self.every_step:
            return inputs, torch.cat([targets for _, targets in groups]), lengths
        unscored = math.nan if groups[0][1].is_floating_point() else IGNORED
        return inputs, torch.cat([pad(targets, unscored) for _, targets in groups]), lengths
