"""Damped oscillator: predict a decaying oscillation of unknown frequency and damping."""

import math

import torch
from torch import Tensor

from seqmodels.tasks.signals.signal import Signal, fit, mean_square, recur

FREQUENCIES = (0.2, 1.2)
"""Radians per step, so periods of about 5 to 31 steps."""
DAMPINGS = (0.01, 0.1)
"""Per step: the amplitude falls to 1/e in 100 to 10 steps."""
AMPLITUDES = (0.5, 1.0)


class DampedOscillator(Signal):
    """Inputs (batch, length, 1): x_t = a exp(-g t) cos(w t + phi) for t = 0, 1, ...; targets: the next values, see
    `Signal`.

    Amplitude, damping, frequency and phase are drawn uniformly. Every such signal obeys x_{t+1} = p x_t - q x_{t-1}
    with p = 2 exp(-g) cos(w) and q = exp(-2g). Four values determine p and q, so the first 3 steps are not scored.
    Phases are uniform, hence the best constant answer is 0, and chance is its error: E[a^2] / 2 * E[exp(-2 g t)] at
    time t, averaged over all times scored, with
    E[exp(-2 g t)] = (exp(-2 g_min t) - exp(-2 g_max t)) / (2 t (g_max - g_min)).

    Args:
        length: see `DrawnTask`; at least 4.
        ahead: see `Signal`.

    Example:
        Halved and turned by a quarter of a period at each step:

        >>> signal = torch.tensor([[[16.0], [0.0], [-4.0], [0.0], [1.0], [0.0]]])
        >>> DampedOscillator(length=6, ahead=2).solve(signal).round(decimals=3)[0, 4:].abs()
        tensor([[0.0000, 0.2500],
                [0.2500, 0.0000]])
    """

    min_length = 4

    def chance_at(self, length: int) -> float:
        weakest, strongest = DAMPINGS
        # Step t, from 0, predicts the times t + 1 to t + ahead.
        scored = range(self.min_length - 1, length)
        times = [step + distance for step in scored for distance in range(1, self.ahead + 1)]
        decay = [
            (math.exp(-2 * weakest * time) - math.exp(-2 * strongest * time)) / (2 * time * (strongest - weakest))
            for time in times
        ]
        return mean_square(*AMPLITUDES) / 2 * sum(decay) / len(decay)

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        def uniform(low: float, high: float) -> Tensor:
            return torch.empty(size, 1, dtype=torch.float64).uniform_(low, high, generator=generator)

        frequency, damping, amplitude = uniform(*FREQUENCIES), uniform(*DAMPINGS), uniform(*AMPLITUDES)
        phase, time = uniform(0.0, 2 * math.pi), torch.arange(length, dtype=torch.float64)
        signal = amplitude * torch.exp(-damping * time) * torch.cos(frequency * time + phase)
        return signal.float().unsqueeze(2)

    def extend(self, signal: Tensor, steps: int) -> Tensor:
        """By the recurrence, with p and -q fitted to the whole signal (Prony's method)."""
        values = signal[:, :, 0].double().T.contiguous()
        coefficients = fit([values[:-2], values[1:-1], values[2:]])
        return recur(values, coefficients, steps).T.unsqueeze(2)
