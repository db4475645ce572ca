"""Lorenz: predict the three coordinates of the butterfly.

Edward Lorenz, "Deterministic Nonperiodic Flow", Journal of the Atmospheric Sciences 20, 1963:

    dx/dt = sigma (y - x),    dy/dt = x (rho - z) - y,    dz/dt = x y - beta z

Here it is the map that Euler's method makes of it with a step of 0.02, and all three coordinates are inputs, so that
the next ones follow exactly from those seen.
"""

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.signals.signal import Signal

SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
STEP = 0.02
TRANSIENT = 30
"""Steps from a random point to the attractor."""
CENTER = np.array([0.0, 0.0, 26.0])
SCALE = np.array([8.5, 9.7, 8.3])
"""What brings the coordinates to about mean 0 and variance 1."""

POINT = np.column_stack([np.diag(SCALE), CENTER])
"""Takes the inputs of a step, and a 1 below them, to x, y and z."""
LINEAR = [[1 - STEP * SIGMA, STEP * SIGMA, 0], [STEP * RHO, 1 - STEP, 0], [0, 0, 1 - STEP * BETA]] @ POINT
LINEAR[:, 3] -= CENTER
FACTOR = [[0, 0, 0], [0, 0, -STEP], [0, STEP, 0]] @ POINT
MAP = np.vstack([LINEAR / SCALE[:, None], POINT[[0, 0, 0]], FACTOR / SCALE[:, None]])
"""Three matrices one above the other, A, B and C. A step takes inputs p, with a 1 below, to A p + (B p) * (C p), where
B p is x three times."""


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
        start = torch.empty(3, size, dtype=torch.float64).uniform_(-1, 1, generator=generator)
        return run(start, TRANSIENT + length)[TRANSIENT:].float().permute(2, 0, 1).contiguous()

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        return run(signal[:, -1].double().T, steps).permute(2, 0, 1)


def run(start: Tensor, steps: int) -> Tensor:
    """The inputs (steps, 3, batch) that follow those at `start` (3, batch)."""
    # A step is so little work that it costs what its calls cost: three, which write where the result belongs. NumPy's
    # cost less than torch's.
    path = np.ones((steps + 1, 4, start.size(1)))
    path[0, :3] = start.numpy()
    parts = np.empty((len(MAP), start.size(1)))
    linear, x, factor = parts[:3], parts[3:6], parts[6:]
    for point, following in zip(path[:-1], path[1:, :3], strict=True):
        np.dot(MAP, point, out=parts)
        np.multiply(x, factor, out=following)
        following += linear
    return torch.from_numpy(path[1:, :3])
