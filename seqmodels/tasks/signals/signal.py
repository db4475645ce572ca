"""What all signals share: the next values are to be predicted at every step, and repeating the last is a baseline."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import DrawnTask, Lengths
from seqmodels.tasks.task import check_whole


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

        `min_length` values are enough for that.
        """

    def solve(self, inputs: Tensor) -> Tensor:
        signal = inputs.double()
        whole = torch.cat([signal, self.extend(signal, self.ahead)], dim=1)
        windows = whole[:, 1:].unfold(1, self.ahead, 1).transpose(2, 3)  # (batch, time, ahead, channels), overlapping
        targets = windows.flatten(2).clone()
        targets[:, : self.min_length - 1] = math.nan
        return targets.to(inputs.dtype)

    @property
    def baselines(self) -> dict[str, float]:
        errors = []
        for length in self.test_lengths:
            inputs = self.draw(1024, length, torch.Generator().manual_seed(0))
            errors.append(self.loss(inputs.repeat(1, 1, self.ahead), self.solve(inputs)).item())
        return {"persistence": sum(errors) / len(errors)}
