"""Lorenz: predict the three coordinates of the butterfly.

Edward Lorenz, "Deterministic Nonperiodic Flow", Journal of the Atmospheric Sciences 20, 1963:

    dx/dt = sigma (y - x),    dy/dt = x (rho - z) - y,    dz/dt = x y - beta z

Here it is the map that Euler's method makes of it with a step of 0.02, and all three coordinates are inputs, so that
the next ones follow exactly from those seen.
"""

import torch
from torch import Tensor

from seqmodels.tasks.signals.signal import Signal

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
STEP = 0.02
TRANSIENT = 30
"""Steps from a random point to the attractor."""
CENTER = torch.tensor([0.0, 0.0, 26.0], dtype=torch.float64)
SCALE = torch.tensor([8.5, 9.7, 8.3], dtype=torch.float64)
"""What brings the coordinates to about mean 0 and variance 1."""


class Lorenz(Signal):
    """Inputs (batch, length, 3): x / 8.5, y / 9.7 and (z - 26) / 8.3; targets: the next values of all three, see
    `Signal`.

    Every step is scored. The last targets follow from the inputs by the map, and differ from the signal drawn by no
    more than rounding to single precision and what the map makes of it: about 1e-6 for one step, and more for further
    ones. The variance, which is chance, is no matter of arithmetic: it is measured.

    Args:
        length: see `DrawnTask`, and there for `lengths`.
        ahead: see `Signal`.

    Example:
        At x = y = z = 0 all rest:

        >>> Lorenz(length=1).solve(torch.tensor([[[0.0, 0.0, -26 / 8.3]]])) * 8.3
        tensor([[[  0.0000,   0.0000, -26.0000]]])
    """

    channels = 3

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        start = (2 * torch.rand(size, 3, generator=generator, dtype=torch.float64) - 1) * SCALE + CENTER
        return ((run(start, TRANSIENT + length)[:, TRANSIENT:] - CENTER) / SCALE).float()

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        return (run(signal[:, -1] * SCALE + CENTER, steps) - CENTER) / SCALE


def run(start: Tensor, steps: int) -> Tensor:
    """The points (batch, steps, 3) that follow `start` (batch, 3)."""
    x, y, z = start.unbind(1)
    below = RHO - z
    source = torch.full_like(below, STEP * BETA * RHO)
    points = []
    for _ in range(steps):
        x, y, below = (
            torch.lerp(x, y, STEP * SIGMA),
            torch.addcmul((1 - STEP) * y, x, below, value=STEP),
            torch.addcmul(torch.add(source, below, alpha=1 - STEP * BETA), x, y, value=-STEP),
        )
        points += [x, y, below]
    found = torch.stack(points, dim=1).view(len(start), steps, 3)
    found[:, :, 2] = RHO - found[:, :, 2]
    return found
