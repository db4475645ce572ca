"""Parity: is the number of ones odd?

One of the regular languages of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
Every bit matters, so nothing short of the two-state machine does better than a guess.
"""

import torch
from torch import Tensor

from seqmodels.tasks.drawn import DrawnTask


class Parity(DrawnTask):
    """Inputs (batch, length): random bits as tokens; target: the number of ones modulo 2.

    Example:
        >>> Parity(length=4).solve(torch.tensor([[1, 0, 1, 1], [0, 0, 1, 1]]))
        tensor([1, 0])
    """

    input_size = 2
    output_size = 2
    tokens = True
    metric_name = "accuracy"
    solved_at = 0.99

    def chance_at(self, length: int) -> float:
        return 0.5

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (size, length), generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=1) % 2
