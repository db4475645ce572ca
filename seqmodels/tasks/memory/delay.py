"""Delay: repeat white noise some steps later. The error measures how many past inputs a state holds.

The short-term memory of Herbert Jaeger, "Short Term Memory in Echo State Networks", GMD Report 152, 2002, for one
delay, learned.
"""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings


class Delay(DrawnTask):
    """Inputs (batch, length, 1): independent standard normal numbers; target at each step: the input `lag` steps ago.

    The first `lag` steps are not scored. The best constant answer is 0, so chance is the signal's variance, 1.

    Args:
        length: see `DrawnTask`; more than `lag`.
        lag: the number of steps between an input and its repetition.

    Example:
        >>> Delay(length=4, lag=2).solve(torch.tensor([[[0.5], [-1.0], [2.0], [0.0]]])).squeeze()
        tensor([    nan,     nan,  0.5000, -1.0000])
    """

    input_size = 1
    output_size = 1
    every_step = True
    metric_name = "mse"
    solved_at = 0.01

    def __init__(self, length: int | Sequence[int], lag: int = 10, **lengths: Unpack[LengthSettings]) -> None:
        check_whole("lag", lag, 1)
        self.lag = lag
        self.min_length = lag + 1
        super().__init__(length, **lengths)

    def chance_at(self, length: int) -> float:
        return 1.0

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randn(size, length, 1, generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        targets = inputs.roll(self.lag, dims=1)
        targets[:, : self.lag] = math.nan
        return targets
