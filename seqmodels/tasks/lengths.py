"""The lengths of drawn sequences: the range of training and how it grows, the lengths of the test, and their mixing."""

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

import torch

from seqmodels.checks import check_flag, check_whole

GROUPS = 8
"""The most lengths that a training batch of mixed lengths has."""


class LengthSettings(TypedDict, total=False):
    """The settings beside `length`, for constructors that pass them on as `**lengths: Unpack[LengthSettings]`."""

    test_length: int | None
    doubling_batches: int | None
    test_lengths: Sequence[int] | None
    mixed_lengths: bool


class Lengths:
    """The lengths of a task's sequences.

    Args:
        length: a length, or the shortest and the longest of a range, from which training draws uniformly. Validation
            uses the longest.
        test_length: the length of the test; the longest training length if not given.
        doubling_batches: a curriculum. The longest length drawn starts at the shortest of the range, or at 2 where that
            is 1, and doubles every `doubling_batches` batches until it reaches the longest of the range. Without it,
            the first batch already draws from all lengths. It has no effect on a single length.
        test_lengths: several lengths to test at, which replace `test_length`.
        mixed_lengths: a training batch has up to eight lengths, each drawn for an eighth of its sequences.
        least: the shortest length at which the task makes sense.
        fitting: the length that is drawn in place of a length; see `DrawnTask.fitting`.

    Raises:
        TypeError, ValueError: a length is not a whole number, is too short for the task or is given twice, or the range
            or `test_lengths` is empty.
    """

    def __init__(
        self,
        length: int | Sequence[int],
        test_length: int | None = None,
        doubling_batches: int | None = None,
        test_lengths: Sequence[int] | None = None,
        mixed_lengths: bool = False,
        *,
        least: int,
        fitting: Callable[[int], int],
    ) -> None:
        bounds = [length, length] if isinstance(length, int) else length
        if not isinstance(bounds, Sequence) or isinstance(bounds, str) or len(bounds) != 2:
            raise TypeError(f"length should be a whole number or a range [shortest, longest], got {length!r}")
        for bound in bounds:
            check_whole("length", bound, least)
        if bounds[0] > bounds[1]:
            raise ValueError(f"length should be a range [shortest, longest], got {list(bounds)}")
        if test_length is not None:
            check_whole("test_length", test_length, least)
        if doubling_batches is not None:
            check_whole("doubling_batches", doubling_batches, 1)
        check_flag("mixed_lengths", mixed_lengths)
        if test_lengths is None:
            test_lengths = [test_length or bounds[1]]
        if not isinstance(test_lengths, Sequence) or isinstance(test_lengths, str) or not test_lengths:
            raise TypeError(f"test_lengths should be a list of lengths such as [40, 80], got {test_lengths!r}")
        for tested in test_lengths:
            check_whole("test_lengths", tested, least)
        drawn = list(map(fitting, test_lengths))
        if len(set(drawn)) < len(drawn):
            also = "" if drawn == list(test_lengths) else f", which are drawn as {drawn}"
            raise ValueError(f"test_lengths should name each length once, got {list(test_lengths)}{also}")
        self.shortest, self.longest = bounds
        self.tests = list(test_lengths)
        self.doubling_batches, self.mixed, self.fitting = doubling_batches, mixed_lengths, fitting

    def unseen(self, length: int) -> bool:
        """Whether training has no sequences of this length."""
        return not self.fitting(self.shortest) <= self.fitting(length) <= self.fitting(self.longest)

    def draw(self, split: Literal["train", "val", "test"], index: int, generator: torch.Generator) -> int:
        """The length of batch `index` of a split; the batches of the test cycle through its lengths."""
        if split == "test":
            return self.tests[index % len(self.tests)]
        if split == "val":
            return self.longest
        longest = self.longest
        if self.doubling_batches is not None:
            doublings = min(index / self.doubling_batches, 64)  # larger than any length, and no float overflows
            longest = min(longest, int(max(self.shortest, 2) * 2**doublings))
        if longest == self.shortest:
            return longest
        return int(torch.randint(self.shortest, longest + 1, (), generator=generator))

    def group_sizes(self, size: int) -> list[int]:
        """How many of the `size` sequences of a mixed batch have the first length, the second, and so on."""
        return [len(group) for group in torch.arange(size).tensor_split(min(size, GROUPS))]
