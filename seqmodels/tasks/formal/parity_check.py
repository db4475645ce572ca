"""Parity check: is the number of ones odd? And two variations for a machine of two states.

Parity check and even pairs are regular tasks of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy",
ICLR 2023. In parity check every bit matters, so nothing short of the two-state machine beats chance; in even pairs only
the first and the last bit do, if one sees it.
"""

import torch
from torch import Tensor

from seqmodels.tasks.formal.formal_task import FormalTask


class ParityCheck(FormalTask):
    """Inputs (batch, length): random bits as tokens; target: the number of ones modulo 2.

    Chance is 1/2.

    Example:
        >>> ParityCheck(length=4).solve(torch.tensor([[1, 0, 1, 1], [0, 0, 1, 1]]))
        tensor([1, 0])
    """

    input_size = 2
    output_size = 2
    remembered = "the number of ones so far, modulo 2"

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (size, length), generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=1) % 2

    def states(self, inputs: Tensor) -> Tensor:
        return inputs.cumsum(dim=1) % 2

    def chance_at(self, length: int) -> float:
        return 0.5


class CumulativeParity(ParityCheck):
    """Parity check at every step: targets (batch, length) are the number of ones so far, modulo 2.

    Chance is 1/2 at each step.

    Example:
        >>> CumulativeParity(length=4).solve(torch.tensor([[1, 0, 1, 1], [0, 0, 1, 1]]))
        tensor([[1, 1, 0, 1],
                [0, 0, 1, 0]])
    """

    every_step = True

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs.cumsum(dim=1) % 2


class EvenPairs(ParityCheck):
    """Inputs (batch, length): random bits as tokens; target: the number of pairs 01 and 10 in them, modulo 2.

    It is 0 if and only if the first bit equals the last one. Chance is 1/2.

    Args:
        length: see `DrawnTask`; at least 2, as one bit makes no pair.

    Example:
        >>> EvenPairs(length=6).solve(torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 0, 0, 1, 1]]))  # 01 10; 01 10 01
        tensor([0, 1])
    """

    min_length = 2
    remembered = "the first and the last bit: 00, 01, 10 or 11, from 0 to 3"

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs[:, 0] ^ inputs[:, -1]

    def states(self, inputs: Tensor) -> Tensor:
        return 2 * inputs[:, :1] + inputs
