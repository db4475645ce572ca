"""Tasks whose sequences are drawn at random, at any length and without end."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.tasks.task import Split, Task, check_whole


class DrawnTask(Task):
    """Base class of the synthetic tasks; a subclass gives `draw` and `solve`.

    All sequences of a batch have one length. Training draws it uniformly from `length`, validation takes the
    longest of these, and the test `test_length`.

    Args:
        length: a length, or the shortest and the longest of a range.
        test_length: the length to test at; the longest training length if not given.
        doubling_batches: a curriculum. Lengths start at the shortest of the range, or 2 where that is 1, and
            the longest one drawn doubles each time this many batches are through, until the range is reached.
            Without it all lengths are drawn from the first batch on; a single length leaves nothing to grow.

    Raises:
        TypeError, ValueError: a length is not a whole number, too short for the task, or the range is empty.
    """

    min_length: int = 1
    """The shortest length at which the task makes sense."""

    def __init__(
        self, length: int | Sequence[int], test_length: int | None = None, doubling_batches: int | None = None
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
        self.test_length = test_length or self.longest
        self.doubling_batches = doubling_batches

    @property
    def chance(self) -> float:  # type: ignore[override]
        return self.chance_at(self.test_length)

    def chance_at(self, length: int) -> float:
        """What the best answer scores that never looks at the inputs, at this length.

        A subclass gives it wherever arithmetic does. Else it is measured, for numbers: the mean at each step of half of
        4,096 sequences answers the other half.
        """
        known, asked = self.solve(self.draw(4096, length, torch.Generator().manual_seed(0))).chunk(2)
        return self.loss(known.nanmean(dim=0).expand_as(asked), asked).item()

    @abstractmethod
    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        """`size` random inputs."""

    @abstractmethod
    def solve(self, inputs: Tensor) -> Tensor:
        """The exact targets of any inputs of this task."""

    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs = self.draw(size, self._length(split, index, generator), generator)
        return inputs, self.solve(inputs)

    def _length(self, split: Split, index: int, generator: torch.Generator) -> int:
        if split == "test":
            return self.test_length
        if split == "val":
            return self.longest
        longest = self.longest
        if self.doubling_batches is not None:
            doublings = min(index / self.doubling_batches, 64)  # beyond any length, before a float overflows
            longest = min(longest, int(max(self.shortest, 2) * 2**doublings))
        return int(torch.randint(self.shortest, longest + 1, (), generator=generator))
