"""Tasks whose sequences are drawn at random, at any length and without end."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TypedDict

import torch
from torch import Tensor

from seqmodels.tasks.task import IGNORED, Split, Task, check_whole

GROUPS = 8
"""At most so many lengths in a training batch of mixed lengths."""

SAMPLE = 4096
"""Sequences from which a guess line is measured that no arithmetic gives."""


class Lengths(TypedDict, total=False):
    """What a task takes as `**lengths: Unpack[Lengths]`, beside `length` and knobs of its own, and hands on."""

    test_length: int | None
    doubling_batches: int | None
    test_lengths: Sequence[int] | None
    mixed_lengths: bool


class DrawnTask(Task):
    """Base class of the synthetic tasks; a subclass gives `draw` and `solve`, and `chance_at` where it is known.

    Training draws lengths uniformly from `length`: one for each batch, or with `mixed_lengths` one for each eighth of
    it. Validation takes the longest of them, the test `test_length`, or `test_lengths` in turn.

    Args:
        length: a length, or the shortest and the longest of a range.
        test_length: the length to test at; the longest training length if not given.
        doubling_batches: a curriculum. Lengths start at the shortest of the range, or 2 where that is 1, and
            the longest one drawn doubles each time this many batches are through, until the range is reached.
            Without it all lengths are drawn from the first batch on; a single length leaves nothing to grow.
        test_lengths: several lengths to test at, in place of `test_length`.
        mixed_lengths: a training batch has sequences of several lengths, padded, and so comes with `lengths`.

    Raises:
        TypeError, ValueError: a length is not a whole number, too short for the task, or named twice, or the range
            or `test_lengths` is empty.
    """

    min_length: int = 1
    """The shortest length at which the task makes sense."""

    def __init__(
        self,
        length: int | Sequence[int],
        test_length: int | None = None,
        doubling_batches: int | None = None,
        test_lengths: Sequence[int] | None = None,
        mixed_lengths: bool = False,
    ) -> None:
        bounds = [length, length] if isinstance(length, int) else length
        if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
            raise TypeError(f"length should be a whole number or a range [shortest, longest], got {length!r}")
        for bound in bounds:
            check_whole("length", bound, self.min_length)
        if bounds[0] > bounds[1]:
            raise ValueError(f"length should be a range [shortest, longest], got {list(bounds)}")
        if test_length is not None:
            check_whole("test_length", test_length, self.min_length)
        if doubling_batches is not None:
            check_whole("doubling_batches", doubling_batches, 1)
        self.shortest, self.longest = bounds
        if test_lengths is None:
            test_lengths = [test_length or self.longest]
        if not isinstance(test_lengths, Sequence) or isinstance(test_lengths, str) or not test_lengths:
            raise TypeError(f"test_lengths should be a list of lengths such as [40, 80], got {test_lengths!r}")
        for tested in test_lengths:
            check_whole("test_lengths", tested, self.min_length)
        if len(set(map(self.fitting, test_lengths))) < len(test_lengths):
            drawn = list(map(self.fitting, test_lengths))
            also = "" if drawn == list(test_lengths) else f", which are drawn as {drawn}"
            raise ValueError(f"test_lengths should name each length once, got {list(test_lengths)}{also}")
        self.test_lengths = list(test_lengths)
        self.doubling_batches = doubling_batches
        self.mixed_lengths = mixed_lengths

    @abstractmethod
    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        """`size` random inputs."""

    def fitting(self, length: int) -> int:
        """The length that is drawn where `length` is asked for: the longest up to it at which there are sequences."""
        return length

    @abstractmethod
    def solve(self, inputs: Tensor) -> Tensor:
        """The exact targets of any inputs of this task."""

    def draw_for(self, split: Split, size: int, length: int, generator: torch.Generator) -> Tensor:
        """`draw`; a task that keeps its splits apart by their content does so here."""
        return self.draw(size, length, generator)

    @cached_property
    def chance(self) -> float:  # type: ignore[override]
        """The guess line of the test: the mean over its lengths, as the test's own score is."""
        return sum(map(self.chance_at, self.test_lengths)) / len(self.test_lengths)

    def chance_at(self, length: int) -> float:
        """What the best answer scores, at a length, that never looks at the inputs.

        A subclass gives it wherever arithmetic does. Else it is measured on training sequences, always the same ones:
        the frequencies of the classes (of numbers, the mean) at each scored step in one half answer the other half,
        both ways round.
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
        # Counts start at one sequence for all classes together: nothing is impossible, and little is made of that.
        return (counts.view(*targets.shape[1:], self.output_size) + 1 / self.output_size).log()

    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        if not self.mixed_lengths or split != "train":
            return self._of_one_length(split, index, size, generator)
        counts = [len(group) for group in torch.arange(size).tensor_split(min(size, GROUPS))]
        return self._padded([self._of_one_length(split, index, count, generator) for count in counts])

    def _of_one_length(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs = self.draw_for(split, size, self._length(split, index, generator), generator)
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

    def _length(self, split: Split, index: int, generator: torch.Generator) -> int:
        if split == "test":
            return self.test_lengths[index % len(self.test_lengths)]
        if split == "val":
            return self.longest
        longest = self.longest
        if self.doubling_batches is not None:
            doublings = min(index / self.doubling_batches, 64)  # beyond any length, before a float overflows
            longest = min(longest, int(max(self.shortest, 2) * 2**doublings))
        if longest == self.shortest:
            return longest
        return int(torch.randint(self.shortest, longest + 1, (), generator=generator))
