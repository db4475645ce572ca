"""The last bit."""

import torch
from torch import Tensor

from seqmodels.tasks import DrawnTask


class LastBit(DrawnTask):
    """Inputs (batch, length): random bits as tokens; target: the last one."""

    input_size = 2
    output_size = 2
    tokens = True
    metric_name = "accuracy"
    solved_at = 0.99

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (size, length), generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs[:, -1]

    def chance_at(self, length: int) -> float:
        return 0.5
