"""Lorenz: predict the three coordinates of the butterfly.

Edward Lorenz, "Deterministic Nonperiodic Flow", Journal of the Atmospheric Sciences 20, 1963:

    dx/dt = sigma (y - x),    dy/dt = x (rho - z) - y,    dz/dt = x y - beta z

Here it is the map of Euler's method with a step of 0.02, and all three coordinates are inputs, so that the next ones
follow exactly from those seen.
"""

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.signals.signal import Signal

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
STEP = 0.02
TRANSIENT = 30
"""Steps from a random point to the attractor."""
CENTER = torch.tensor([0.0, 0.0, 26.0], dtype=torch.float64)
SCALE = torch.tensor([8.5, 9.7, 8.3], dtype=torch.float64)
"""With these, the coordinates have about mean 0 and variance 1."""


class Lorenz(Signal):
    """Inputs (batch, length, 3): x / 8.5, y / 9.7 and (z - 26) / 8.3; targets: the next values of all three, see
    `Signal`.

    Every step is scored. The last targets follow from the inputs by the map. They differ from the signal drawn only by
    rounding to single precision, as the map amplifies it: about 1e-6 for one step, and more for further ones. Chance,
    the variance, is measured.

    Args:
        length: see `DrawnTask`.
        ahead: see `Signal`.

    Example:
        The point x = y = z = 0 stays where it is:

        >>> Lorenz(length=1).solve(torch.tensor([[[0.0, 0.0, -26 / 8.3]]])) * 8.3
        tensor([[[  0.0000,   0.0000, -26.0000]]])
    """

    channels = 3

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        start = torch.empty(3, size, dtype=torch.float64).uniform_(-1, 1, generator=generator)
        return run(start.T, TRANSIENT + length)[:, TRANSIENT:].float()

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        return run(signal[:, -1].double(), steps)


def run(start: Tensor, steps: int) -> Tensor:
    """The inputs (batch, steps, 3) that follow those at `start` (batch, 3)."""
    x, y, z = (start * SCALE + CENTER).T.numpy()  # NumPy takes a third of torch's time for such small steps
    path = []
    for _ in range(steps):
        x, y, z = x + STEP * SIGMA * (y - x), y + STEP * (x * (RHO - z) - y), z + STEP * (x * y - BETA * z)
        path.append((x, y, z))
    return (torch.from_numpy(np.array(path)).permute(2, 0, 1) - CENTER) / SCALE
