"""Sine mixtures: predict the next value of a sum of sines with unknown frequencies."""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.signals.signal import Signal, fit, mean_square, recur

FREQUENCIES = (0.2, 1.2)
"""Radians per step, so periods of about 5 to 31 steps."""
AMPLITUDES = (0.5, 1.0)


class Sine(Signal):
    """Inputs (batch, length, 1): x_t = sum_i a_i sin(w_i t + phi_i); targets: the next values, see `Signal`.

    Frequency, amplitude and phase of each component are drawn uniformly. A mixture of k sines is determined by
    3k values (k frequencies, 2k coefficients), so the first 3k - 1 steps are not scored. Phases are uniform,
    hence the best constant answer is 0, and chance is its error, the variance k E[a^2] / 2.

    Args:
        length: see `DrawnTask`; at least 3 * `components`.
        components: the number of sines, k.
        ahead: see `Signal`.

    Example:
        sin(t pi/2) for t = 1, 2, 3, 4. The last target continues it; the first two are not scored.

        >>> Sine(length=4, components=1).solve(torch.tensor([[[1.0], [0.0], [-1.0], [0.0]]])).squeeze().round()
        tensor([nan, nan, 0., 1.])
    """

    def __init__(
        self,
        length: int | Sequence[int],
        components: int = 2,
        ahead: int = 1,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        check_whole("components", components, 1)
        self.components = components
        self.min_length = 3 * components
        super().__init__(length, ahead, **lengths)

    def chance_at(self, length: int) -> float:
        return self.components * mean_square(*AMPLITUDES) / 2

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(self.components, size, 1, dtype=torch.float64).uniform_(low, high, generator=generator)

        frequency, amplitude, phase = uniform(*FREQUENCIES), uniform(*AMPLITUDES), uniform(0.0, 2 * math.pi)
        time = torch.arange(length, dtype=torch.float64)
        signal = (amplitude * torch.sin(frequency * time + phase)).sum(dim=0)
        return signal.float().unsqueeze(2)

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        """By the recurrence that the mixture obeys (Prony's method).

        prod_i (1 - 2 cos(w_i) B + B^2) x_t = 0 with the backshift B is a palindrome, so with any x_t in the middle
        x_{t-k} + x_{t+k} = c_0 x_t + sum_{j=1..k-1} c_j (x_{t-j} + x_{t+j}). Its k unknowns are fitted to the whole
        signal.
        """
        values = signal[:, :, 0].double().T.contiguous()
        half, count = self.components, len(values) - 2 * self.components
        shifted = [values[first : first + count] for first in range(2 * half + 1)]
        pairs = [shifted[half - distance] + shifted[half + distance] for distance in range(1, half + 1)]
        coefficients = fit([shifted[half], *pairs])
        oldest = torch.full_like(coefficients[:1], -1)
        return recur(values, torch.cat([oldest, coefficients.flip(0), coefficients[1:]]), steps).T.unsqueeze(2)
