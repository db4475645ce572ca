"""Repeat copy: repeat a sequence a given number of times, then mark the end.

Alex Graves, Greg Wayne and Ivo Danihelka, "Neural Turing Machines", arXiv:1410.5401, 2014, section 4.2. There a step is
a vector of 8 bits, and the count a number on a channel of its own; here both are tokens.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED


class RepeatCopy(DrawnTask):
    """Inputs (batch, length + 1 + repeats * length + 1) of tokens: `length` data tokens (0 to `classes` - 1); the count
    c from 1 to `repeats`, as `classes` + c - 1; empty tokens (`classes` + `repeats`), enough for the longest answer.
    Targets, at the empty tokens: the data c times, then an end mark (`classes`), and nothing after it.

    Data and count are uniform. The best answer without seeing the input is any data token, except at multiples of
    `length`, where the end mark may be likelier: it is right in 1 / repeats of all sequences. A data token is right in
    1 / classes of the sequences with more repeats to come. Chance is exact.

    Args:
        length: see `DrawnTask`.
        repeats: the largest count.
        classes: the number of different data tokens.

    Example:
        The data 2 0, to be repeated twice (5 = 4 + 2 - 1) of at most 3 times:

        >>> task = RepeatCopy(length=2, repeats=3, classes=4)
        >>> task.solve(torch.tensor([[2, 0, 5, 7, 7, 7, 7, 7, 7, 7]]))
        tensor([[-100, -100, -100,    2,    0,    2,    0,    4, -100, -100]])
    """

    tokens = True
    every_step = True
    metric_name = "accuracy"
    solved_at = 0.99

    def __init__(
        self,
        length: int | Sequence[int],
        repeats: int = 10,
        classes: int = 8,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("repeats", repeats, 1)
        check_whole("classes", classes, 2)
        self.repeats, self.classes = repeats, classes
        self.input_size = classes + repeats + 1
        self.output_size = classes + 1

    def chance_at(self, length: int) -> float:
        right = length / self.classes  # in the first round, which all sequences have
        for through in range(1, self.repeats + 1):
            data = (self.repeats - through) / self.repeats / self.classes
            right += max(1 / self.repeats, data) + (length - 1) * data
        answers = length * (self.repeats + 1) / 2 + 1  # of a sequence, on average
        return right / answers

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        data = torch.randint(0, self.classes, (size, length), generator=generator)
        count = torch.randint(self.classes, self.classes + self.repeats, (size, 1), generator=generator)
        empty = torch.full((size, self.repeats * length + 1), self.classes + self.repeats)
        return torch.cat([data, count, empty], dim=1)

    def solve(self, inputs: Tensor) -> Tensor:
        length = (inputs.size(1) - 2) // (self.repeats + 1)
        end = length * (inputs[:, length : length + 1] - self.classes + 1)
        steps = torch.arange(self.repeats * length + 1)
        data = inputs[:, steps % length]
        answers = torch.where(steps < end, data, torch.where(steps == end, self.classes, IGNORED))
        return torch.cat([torch.full_like(inputs[:, : length + 1], IGNORED), answers], dim=1)
