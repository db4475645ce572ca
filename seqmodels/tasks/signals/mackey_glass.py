"""Mackey-Glass: predict a chaotic signal whose next value depends on a delayed one.

Michael Mackey and Leon Glass, "Oscillation and Chaos in Physiological Control Systems", Science 197, 1977:

    dx/dt = beta x(t - tau) / (1 + x(t - tau)^10) - gamma x(t)

Here it is the map of Euler's method with a step of 1, so that a signal's next value follows exactly from the values
seen: x_{t+1} = x_t + beta x_{t-tau} / (1 + x_{t-tau}^10) - gamma x_t. For tau = 17 it is chaotic.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.signals.signal import Signal

BETA, GAMMA = 0.2, 0.1
TRANSIENT = 100
"""Steps from a random history to the attractor."""
PERIODS = 200
"""A sequence begins at most this many steps later, about four periods, so that it may begin anywhere in a period."""


class MackeyGlass(Signal):
    """Inputs (batch, length, 1): the signal, about 0.4 to 1.4; targets: the next values, see `Signal`.

    The first tau steps are not scored, as x_{t-tau} is not among the inputs. The last target follows from the inputs by
    the map, and differs from the signal drawn only by rounding to single precision (about 1e-7 for one step). Chance,
    the variance, is measured.

    Args:
        length: see `DrawnTask`; more than `tau`.
        tau: the delay. Signals are periodic below about 17.
        ahead: see `Signal`.

    Example:
        With a delay of 1 the last target is 2 + 0.2 * 1 / (1 + 1^10) - 0.1 * 2.

        >>> MackeyGlass(length=2, tau=1).solve(torch.tensor([[[1.0], [2.0]]])).squeeze()
        tensor([   nan, 1.9000])
    """

    def __init__(
        self, length: int | Sequence[int], tau: int = 17, ahead: int = 1, **lengths: Unpack[LengthSettings]
    ) -> None:
        check_whole("tau", tau, 1)
        self.tau = tau
        self.min_length = tau + 1
        super().__init__(length, ahead, **lengths)

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        history = 0.4 + torch.rand(self.tau + 1, size, generator=generator, dtype=torch.float64)
        windows = run(history, TRANSIENT + PERIODS + length).unfold(0, length, 1)
        start = TRANSIENT + torch.randint(0, PERIODS, (size,), generator=generator)
        return windows[start, torch.arange(size)].float().unsqueeze(2)

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        history = signal[:, -self.tau - 1 :, 0].double().T
        return run(history, steps).T.unsqueeze(2)


def run(history: Tensor, steps: int) -> Tensor:
    """The values (steps, batch) that follow a history (tau + 1, batch)."""
    values = list(history.numpy())  # NumPy takes a third of torch's time for such small steps
    delay = len(values)
    for step in range(0, steps, delay):
        delayed = np.array(values[step:])  # drives the next tau + 1 steps
        for drive in BETA * delayed / (1 + delayed**10):
            values.append((1 - GAMMA) * values[-1] + drive)
    return torch.from_numpy(np.array(values[delay : delay + steps]))
