"""Mackey-Glass: predict a chaotic signal whose next value depends on one some time ago.

Michael Mackey and Leon Glass, "Oscillation and Chaos in Physiological Control Systems", Science 197, 1977:

    dx/dt = beta x(t - tau) / (1 + x(t - tau)^10) - gamma x(t)

Here it is the map that Euler's method makes of it with a step of 1, so that a signal's next value follows exactly from
the values seen: x_{t+1} = x_t + beta x_{t-tau} / (1 + x_{t-tau}^10) - gamma x_t. For tau = 17 it is chaotic.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.signals.signal import Signal
from seqmodels.tasks.task import check_whole

BETA, GAMMA = 0.2, 0.1
TRANSIENT = 100
"""Steps from a random history to the attractor."""
PERIODS = 200
"""A sequence begins so many steps later at most, about four swings, so that it may begin anywhere in a swing."""


class MackeyGlass(Signal):
    """Inputs (batch, length, 1): the signal, about 0.4 to 1.4; targets: the next values, see `Signal`.

    The first tau steps are not scored, as x_{t-tau} is not among the inputs. The last target follows from the inputs by
    the map, and differs from the signal drawn by no more than rounding to single precision (about 1e-7 for one step).
    The variance, which is chance, is no matter of arithmetic: it is measured.

    Args:
        length: see `DrawnTask`, and there for `lengths`; more than `tau`.
        tau: the delay. Signals are periodic below about 17.
        ahead: see `Signal`.

    Example:
        With a delay of 1 the last target is 2 + 0.2 * 1 / (1 + 1^10) - 0.1 * 2.

        >>> MackeyGlass(length=2, tau=1).solve(torch.tensor([[[1.0], [2.0]]])).squeeze()
        tensor([   nan, 1.9000])
    """

    def __init__(
        self,
        length: int | Sequence[int],
        tau: int = 17,
        ahead: int = 1,
        **lengths: Unpack[Lengths],
    ) -> None:
        check_whole("tau", tau, 1)
        self.tau = tau
        self.min_length = tau + 1
        # With r = 1 - gamma and f_t = beta x_{t-tau} / (1 + x_{t-tau}^10) the map is x_{t+1} = r x_t + f_t, hence
        # x_{t+j} = r^j x_t + sum_{i=1..j} r^{j-i} f_{t+i-1}. For j = 1, ..., tau + 1 all that is on the right is known.
        distance = np.arange(tau + 1)[:, None]
        spread = BETA * np.tril((1 - GAMMA) ** np.abs(distance - distance.T))
        self._block = np.hstack([(1 - GAMMA) ** (distance + 1), spread])
        super().__init__(length, ahead, **lengths)

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        history = 0.4 + torch.rand(self.tau + 1, size, generator=generator, dtype=torch.float64)
        windows = self._run(history, TRANSIENT + PERIODS + length).unfold(0, length, 1)
        start = TRANSIENT + torch.randint(0, PERIODS, (size,), generator=generator)
        return windows[start, torch.arange(size)].float().unsqueeze(2)

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        history = signal[:, -self.tau - 1 :, 0].double().T
        return self._run(history, steps)[:steps].T.unsqueeze(2)

    def _run(self, history: Tensor, steps: int) -> Tensor:
        """`steps` values or more (time, batch) that follow a history (tau + 1, batch), tau + 1 at a time."""
        # The work is little enough for calls to count, and NumPy's cost less than torch's.
        blocks = np.empty((1 + -(-steps // len(history)), *history.shape))
        blocks[0] = history.numpy()
        drivers = np.empty((len(history) + 1, history.size(1)))  # the last value, then x / (1 + x^10) of the block
        limited = drivers[1:]
        for block, following in pairwise(blocks):
            np.multiply(block, block, out=limited)  # `block**10` takes more than twice as long
            limited *= limited
            limited *= block
            limited *= limited
            limited += 1
            np.divide(block, limited, out=limited)
            drivers[0] = block[-1]
            np.dot(self._block, drivers, out=following)
        return torch.from_numpy(blocks[1:]).flatten(0, 1)
