"""NARMA-10: follow a nonlinear system of order ten that is driven by noise.

Amir Atiya and Alexander Parlos, "New Results on Recurrent Network Training: Unifying the Algorithms and Accelerating
Convergence", IEEE Transactions on Neural Networks 11(3), 2000:

    y_{t+1} = 0.3 y_t + 0.05 y_t (y_t + ... + y_{t-9}) + 1.5 u_{t-9} u_t + 0.1

Now and then the noise drives y over an edge behind which it grows without bound (once in some 300,000 steps). Here y is
held at 1, which it exceeds at one step in 20,000.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.drawn import DrawnTask, Lengths

ORDER = 10


class NARMA10(DrawnTask):
    """Inputs (batch, length, 1): noise u_t, uniform in [0, 0.5]; target at each step t: y_{t+1}, where u and y are 0
    before the start.

    Targets are a function of the inputs, computed in double precision and rounded to single. Their variance, which is
    chance, is no matter of arithmetic: it is measured. The baseline `linear` is the best weighted sum of the last ten
    inputs and a constant, which takes memory but nothing nonlinear; persistence is none, as no target is among the
    inputs. Solved is a tenth of `linear`.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least 10; the inputs do not matter before.

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

    def __init__(self, length: int | Sequence[int], **lengths: Unpack[Lengths]) -> None:
        super().__init__(length, **lengths)
        self.solved_at = 0.1 * self.baselines["linear"]

    @cached_property
    def baselines(self) -> dict[str, float]:
        errors = []
        for length in self.test_lengths:
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
        targets = torch.empty_like(inputs)
        targets[:, :, 0] = follow(inputs[:, :, 0].double().T).T
        return targets


def follow(noise: Tensor) -> Tensor:
    """The y that follow each step of the noise, both time first, so that a step is contiguous."""
    length, size = noise.shape
    earlier = torch.cat([noise.new_zeros(ORDER - 1, size), noise])[:length]
    # y from ORDER steps before the start on; each value takes the place of what drives it. A step costs what its calls
    # cost, and NumPy's cost less than torch's.
    values = torch.cat([noise.new_zeros(ORDER, size), 1.5 * earlier * noise + 0.1]).numpy()
    each, factor, limit = np.full(ORDER, 0.05), np.empty(size), np.ones(size)
    for step in range(length):
        last_ten, value = values[step : step + ORDER], values[step + ORDER]
        np.dot(each, last_ten, out=factor)
        factor += 0.3
        factor *= last_ten[-1]
        value += factor
        np.minimum(value, limit, out=value)
    return torch.from_numpy(values[ORDER:])
