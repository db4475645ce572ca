"""The base class of the signals: predict the next values at every step; repeating the last value is a baseline."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings

NEGLIGIBLE = 1e-15
"""A number that is negligible beside the values of a signal, in double precision."""


class Signal(DrawnTask):
    """Inputs (batch, length, channels): a signal x_1, x_2, ...; targets (batch, length, ahead * channels): at each step
    t the values x_{t+1}, ..., x_{t+ahead}, one after the other. A subclass defines `draw` and `extend`.

    The first `min_length` - 1 steps, at which the signal is not yet determined, are not scored. Signals are drawn, and
    continued beyond the last input, in double precision; inputs and targets are rounded to single precision.

    The baseline `persistence` repeats the last value. The task counts as solved at a hundredth of chance, or at a tenth
    of persistence where that is less.

    Args:
        length: see `DrawnTask`.
        ahead: the number of next values to predict.
    """

    channels = 1
    every_step = True
    predicts_next = True
    metric_name = "mse"

    def __init__(self, length: int | Sequence[int], ahead: int = 1, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("ahead", ahead, 1)
        self.ahead = ahead
        self.input_size = self.channels
        self.output_size = ahead * self.channels
        self.solved_at = min(0.01 * self.chance, 0.1 * self.baselines["persistence"])

    @abstractmethod
    def extend(self, signal: Tensor, steps: int) -> Tensor:
        """The values (batch, steps, channels) that follow a signal (batch, time, channels), in double precision.

        `min_length` values of any precision are enough.
        """

    def solve(self, inputs: Tensor) -> Tensor:
        later = torch.cat([inputs[:, 1:], self.extend(inputs, self.ahead).to(inputs.dtype)], dim=1)
        targets = later.unfold(1, self.ahead, 1).mT.flatten(2).contiguous()
        targets[:, : self.min_length - 1] = math.nan
        return targets

    @property
    def baselines(self) -> dict[str, float]:
        errors = []
        for length in self.lengths.tests:
            inputs = self.draw(1024, length, torch.Generator().manual_seed(0))
            errors.append(self.loss(inputs.repeat(1, 1, self.ahead), self.solve(inputs)).item())
        return {"persistence": sum(errors) / len(errors)}


def mean_square(low: float, high: float) -> float:
    """E[a^2] of a number a that is uniform in [low, high]."""
    return (high**3 - low**3) / (3 * (high - low))


def fit(columns: Sequence[Tensor]) -> Tensor:
    """The coefficients c (k, batch) of equations a_1 c_1 + ... + a_k c_k = b, whose k + 1 columns are (n, batch) each.

    By least squares, with modified Gram-Schmidt: backward stable (Åke Björck, "Solving Linear Least Squares Problems by
    Gram-Schmidt Orthogonalization", BIT 7, 1967), and all matrices at once. Equations NEGLIGIBLE c_i = 0 are added:
    they decide where the others have several solutions, as for a silent signal. In the end, their residuals are
    -NEGLIGIBLE c_i.
    """
    count, (length, size) = len(columns) - 1, columns[0].shape
    left = columns[0].new_zeros(count + 1, length + count, size)
    for row, column in zip(left, columns, strict=True):
        row[:length] = column
    left[:, length:].diagonal().fill_(NEGLIGIBLE)
    for _ in range(count):
        products = (left[:1] * left).sum(dim=1, keepdim=True)
        first, left = left[0], left[1:]
        left.addcmul_(products[1:] / products[0], first, value=-1)
    return left[0, length:] / -NEGLIGIBLE


def recur(values: Tensor, coefficients: Tensor, steps: int) -> Tensor:
    """The values (steps, batch) that follow (time, batch): each is the sum of the k before it times coefficients
    (k, batch)."""
    order = len(coefficients)
    values = values[-order:]
    for _ in range(steps):
        following = (coefficients * values[-order:]).sum(dim=0, keepdim=True)
        values = torch.cat([values, following])
    return values[-steps:]
