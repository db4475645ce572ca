"""What all signals share: the next values are to be predicted at every step, and repeating the last is a baseline."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.drawn import DrawnTask, Lengths
from seqmodels.tasks.task import check_whole

NEGLIGIBLE = 1e-15
"""Beside the values of a signal, in double precision."""


class Signal(DrawnTask):
    """Inputs (batch, length, channels): a signal x_1, x_2, ...; targets (batch, length, ahead * channels): at each step
    t the values x_{t+1}, ..., x_{t+ahead}, one after the other. A subclass gives `draw` and `extend`.

    The first steps, at which the signal cannot be known yet, are not scored: `min_length` - 1 of them. Signals are
    drawn, and continued beyond the last input, in double precision; inputs and targets are rounded to single precision.

    The baseline `persistence` repeats the last value. What counts as solved is a hundredth of chance, or a tenth of
    persistence where that is less.

    Args:
        length: see `DrawnTask`, and there for `lengths`.
        ahead: how many next values are to be predicted.
    """

    channels = 1
    every_step = True
    answers_follow = True
    metric_name = "mse"

    def __init__(
        self,
        length: int | Sequence[int],
        ahead: int = 1,
        **lengths: Unpack[Lengths],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("ahead", ahead, 1)
        self.ahead = ahead
        self.input_size = self.channels
        self.output_size = ahead * self.channels
        self.solved_at = min(0.01 * self.chance, 0.1 * self.baselines["persistence"])

    @abstractmethod
    def extend(self, signal: Tensor, steps: int) -> Tensor:
        """The values (batch, steps, channels) that follow a signal (batch, time, channels), in double precision.

        `min_length` values are enough for that, of any precision.
        """

    def solve(self, inputs: Tensor) -> Tensor:
        length = inputs.size(1)
        whole = torch.cat([inputs, self.extend(inputs, self.ahead).to(inputs.dtype)], dim=1)
        targets = torch.cat([whole[:, 1 + step : 1 + step + length] for step in range(self.ahead)], dim=2)
        targets[:, : self.min_length - 1] = math.nan
        return targets

    @property
    def baselines(self) -> dict[str, float]:
        errors = []
        for length in self.test_lengths:
            inputs = self.draw(1024, length, torch.Generator().manual_seed(0))
            errors.append(self.loss(inputs.repeat(1, 1, self.ahead), self.solve(inputs)).item())
        return {"persistence": sum(errors) / len(errors)}


def fit(equations: Tensor) -> Tensor:
    """The coefficients c (batch, k, 1) of equations a_1 c_1 + ... + a_k c_k = b, the columns of (batch, k + 1, n).

    By least squares, as torch.linalg.lstsq would in twice the time. Equations NEGLIGIBLE c_i = 0 are added: they decide
    where the others leave a choice, as those of a silent signal do.
    """
    _, rows, columns = equations.shape
    count = rows - 1
    equations = F.pad(equations, (0, count))
    equations.diagonal(columns, dim1=1, dim2=2).fill_(NEGLIGIBLE)
    triangle = torch.linalg.qr(equations.mT, mode="r").R[:, :count]
    return torch.linalg.solve_triangular(triangle[:, :, :count], triangle[:, :, count:], upper=True)
