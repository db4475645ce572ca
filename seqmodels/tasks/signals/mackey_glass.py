"""Mackey-Glass: predict a chaotic signal whose next value depends on one some time ago.

Michael Mackey and Leon Glass, "Oscillation and Chaos in Physiological Control Systems", Science 197, 1977:

    dx/dt = beta x(t - tau) / (1 + x(t - tau)^10) - gamma x(t)

Here it is the map that Euler's method makes of it with a step of 1, so that a signal's next value follows exactly from
the values seen: x_{t+1} = x_t + beta x_{t-tau} / (1 + x_{t-tau}^10) - gamma x_t. For tau = 17 it is chaotic.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.signals.signal import Signal
from seqmodels.tasks.task import check_whole

BETA, GAMMA = 0.2, 0.1
ONE = torch.ones((), dtype=torch.float64)
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
        super().__init__(length, ahead, **lengths)

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        history = 0.4 + torch.rand(size, self.tau + 1, generator=generator, dtype=torch.float64).T
        signal = run(history, TRANSIENT + PERIODS + length)
        start = TRANSIENT + torch.randint(0, PERIODS, (size,), generator=generator)
        signal = signal.gather(0, start + torch.arange(length).unsqueeze(1))
        return signal.T.unsqueeze(2).float().contiguous()

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        values = signal[:, -self.tau - 1 :, 0].double()
        for _ in range(steps):
            following = (1 - GAMMA) * values[:, -1:] + BETA * limited(values[:, -self.tau - 1 : -self.tau])
            values = torch.cat([values, following], dim=1)
        return values[:, -steps:].unsqueeze(2)


@torch.inference_mode()  # calls cost a fifth less
def run(history: Tensor, steps: int) -> Tensor:
    """`steps` values or more (time, batch) that follow a history (tau + 1, batch).

    tau + 1 at a time: what drives them is known, and the rest is linear. With f_t = beta x_{t-tau} / (1 + x_{t-tau}^10)
    it is x_{t+j} = r^j x_t + sum_{i=1..j} r^{j-i} f_{t+i-1}, where r = 1 - gamma.
    """
    distance = torch.arange(len(history), dtype=torch.float64).unsqueeze(1)
    spread = BETA * ((1 - GAMMA) ** (distance - distance.T)).tril()
    fading = (1 - GAMMA) ** (distance + 1)
    blocks = [history]
    for _ in range(-(-steps // len(history))):
        block = blocks[-1]
        blocks.append(torch.addmm(fading * block[-1], spread, limited(block)))
    return torch.cat(blocks[1:])


def limited(delayed: Tensor) -> Tensor:
    """x / (1 + x^10)."""
    fifth = delayed.square().square_().mul_(delayed)  # `delayed**10` takes more than twice as long
    return delayed / torch.addcmul(ONE, fifth, fifth)
