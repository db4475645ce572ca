"""Majority: have there been more ones than zeros? It takes a counter, and no more."""

import math

import torch
from torch import Tensor

from seqmodels.tasks.formal.formal_task import FormalTask


class Majority(FormalTask):
    """Inputs (batch, length): random bits as tokens; targets, at every step: 1 if there have been more ones than zeros
    so far, else 0.

    After t bits there is a tie with probability C(t, t/2) / 2^t where t is even, and never where it is odd. A tie
    counts as 0, so the answer 0 is right with probability 1/2 plus half that of a tie. Chance is the mean of this over
    the steps.

    Example:
        >>> Majority(length=5).solve(torch.tensor([[1, 0, 0, 1, 1]]))
        tensor([[1, 0, 0, 0, 1]])
    """

    input_size = 2
    output_size = 2
    every_step = True
    remembered = "the number of ones so far, minus the number of zeros"

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (size, length), generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        return (self.states(inputs) > 0).long()

    def states(self, inputs: Tensor) -> Tensor:
        return (2 * inputs - 1).cumsum(dim=1)

    def chance_at(self, length: int) -> float:
        ties = [math.comb(step, step // 2) / 2**step for step in range(2, length + 1, 2)]
        return 0.5 + sum(ties) / 2 / length
