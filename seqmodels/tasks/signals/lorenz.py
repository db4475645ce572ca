"""Lorenz: predict the three coordinates of the butterfly.

Edward Lorenz, "Deterministic Nonperiodic Flow", Journal of the Atmospheric Sciences 20, 1963:

    dx/dt = sigma (y - x),    dy/dt = x (rho - z) - y,    dz/dt = x y - beta z

Here it is the map that Euler's method makes of it with a step of 0.02, and all three coordinates are inputs, so that
the next ones follow exactly from those seen.
"""

from itertools import pairwise

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
MAP = torch.tensor(
    [
        [1 - STEP * SIGMA, STEP * SIGMA, 0],
        [STEP * RHO, 1 - STEP, 0],
        [0, 0, 1 - STEP * BETA],
        [1, 0, 0],
        [1, 0, 0],
        [1, 0, 0],
        [0, 0, 0],
        [0, 0, -STEP],
        [0, STEP, 0],
    ],
    dtype=torch.float64,
)
"""Three matrices one above the other: a step takes a point p to A p + (B p) * (C p), where B p is x three times."""


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
        return ((run(start, TRANSIENT + length)[:, TRANSIENT:] - CENTER) / SCALE).float().contiguous()

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        return (run(signal[:, -1].double() * SCALE + CENTER, steps) - CENTER) / SCALE


@torch.inference_mode()  # calls cost a fifth less
def run(start: Tensor, steps: int) -> Tensor:
    """The points (batch, steps, 3) that follow `start` (batch, 3)."""
    # A step is so little work that it costs what its calls cost: two, which write where the result belongs.
    path = start.new_empty(steps + 1, 3, len(start))
    path[0] = start.T
    parts = start.new_empty(len(MAP), len(start))
    linear, x, factor = parts.chunk(3)
    for point, following in pairwise(path.unbind()):
        torch.mm(MAP, point, out=parts)
        torch.addcmul(linear, x, factor, out=following)
    return path[1:].permute(2, 0, 1)
