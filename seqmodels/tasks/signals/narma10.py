"""NARMA-10: follow a nonlinear system of order ten that is driven by noise.

Amir Atiya and Alexander Parlos, "New Results on Recurrent Network Training: Unifying the Algorithms and Accelerating
Convergence", IEEE Transactions on Neural Networks 11(3), 2000:

    y_{t+1} = 0.3 y_t + 0.05 y_t (y_t + ... + y_{t-9}) + 1.5 u_{t-9} u_t + 0.1

About once in 300,000 steps the noise drives y into unbounded growth. Here y is limited to 1, which it would
exceed at one step in 20,000.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings

ORDER = 10


class NARMA10(DrawnTask):
    """Inputs (batch, length, 1): noise u_t, uniform in [0, 0.5]; target at each step t: y_{t+1}, where u and y are 0
    before the start.

    Targets are a function of the inputs, computed in double precision and rounded to single. Chance, their variance, is
    measured. The baseline `linear` is the best weighted sum of the last ten inputs and a constant, which needs memory
    but nothing nonlinear. There is no persistence baseline, as no target is among the inputs. The task counts as solved
    at a tenth of `linear`.

    Args:
        length: see `DrawnTask`; at least 10, as earlier targets do not depend on the inputs.

    Example:
        0.1, then 0.3 * 0.1 + 0.05 * 0.1 * 0.1 + 0.1, and so on.

        >>> NARMA10(length=10).solve(torch.tensor([[[0.5], [0.25]]])).squeeze()
        tensor([0.1000, 0.1305])
    """

    input_size = 1
    output_size = 1
    every_step = True
    metric_name = "mse"
    min_length = ORDER

    def __init__(self, length: int | Sequence[int], **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        self.solved_at = 0.1 * self.baselines["linear"]

    @cached_property
    def baselines(self) -> dict[str, float]:
        errors = []
        for length in self.lengths.tests:
            inputs = self.draw(1024, length, torch.Generator().manual_seed(0)).double()
            targets = self.solve(inputs)
            padded = torch.cat([inputs.new_zeros(1024, ORDER - 1, 1), inputs], dim=1)
            recent = padded.unfold(1, ORDER, 1).squeeze(2)
            features = torch.cat([recent, torch.ones_like(inputs)], dim=2)
            weights = torch.linalg.lstsq(features.flatten(0, 1), targets.flatten(0, 1)).solution
            errors.append(self.loss(features @ weights, targets).item())
        return {"linear": sum(errors) / len(errors)}

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return 0.5 * torch.rand(size, length, 1, generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        noise = inputs[:, :, 0].double()
        earlier = F.pad(noise, (ORDER - 1, 0))[:, : noise.size(1)]
        drives = (1.5 * earlier * noise + 0.1).T.numpy()
        values = np.zeros((ORDER + len(drives), len(noise)))  # time first, from ORDER steps before the start
        for step, drive in enumerate(drives):  # NumPy takes a third of torch's time for such small steps
            last_ten = values[step : step + ORDER]
            values[step + ORDER] = np.minimum((0.3 + 0.05 * last_ten.sum(axis=0)) * last_ten[-1] + drive, 1)
        return torch.from_numpy(values[ORDER:]).T.unsqueeze(2).to(inputs.dtype)
