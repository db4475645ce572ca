"""Modular arithmetic without brackets: what is 1 + 2 * 3 - 4, modulo 5?

A regular task of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023: it is enough to keep
the sum of the closed terms and the term still open, both modulo 5.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings


class ModularArithmeticSimple(FormalTask):
    """Inputs (batch, length): random digits below `modulus` and, between them, random operators `modulus` (+),
    `modulus` + 1 (-) and `modulus` + 2 (*); target: the value modulo `modulus`, multiplication first.

    Products are more often 0 than a digit is, so chance is above 1 / `modulus` for short expressions. It is exact, from
    the distribution of (sum of the closed terms, open term) after each operator.

    Args:
        length: see `DrawnTask`; expressions have odd lengths, so an even one is rounded down, and the least is 1.
        modulus: the modulus of the arithmetic.

    Example:
        >>> task = ModularArithmeticSimple(length=7)
        >>> task.solve(torch.tensor([[1, 5, 2, 7, 3, 6, 4], [1, 6, 1, 6, 1, 5, 0]]))  # 1+2*3-4 = 3; 1-1-1+0 = -1
        tensor([3, 4])
    """

    remembered = "the value of the expression so far, without the last operator if it ends in one"

    def __init__(self, length: int | Sequence[int], modulus: int = 5, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("modulus", modulus, 2)
        self.modulus = self.output_size = modulus
        self.input_size = modulus + 3

    def fitting(self, length: int) -> int:
        return length - 1 + length % 2

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        length = self.fitting(length)
        inputs = torch.randint(0, self.modulus, (size, length), generator=generator)
        inputs[:, 1::2] = self.modulus + torch.randint(0, 3, (size, length // 2), generator=generator)
        return inputs

    def solve(self, inputs: Tensor) -> Tensor:
        return self.states(inputs)[:, -1]

    def states(self, inputs: Tensor) -> Tensor:
        total, term = torch.zeros_like(inputs[:, 0]), inputs[:, 0]
        values = [term]
        for operator, digit in zip(inputs[:, 1::2].unbind(1), inputs[:, 2::2].unbind(1), strict=True):
            times = operator == self.modulus + 2
            total = torch.where(times, total, total + term)
            signed = torch.where(operator == self.modulus + 1, -digit, digit)
            term = torch.where(times, term * digit % self.modulus, signed)
            values += [values[-1], (total + term) % self.modulus]
        return torch.stack(values, dim=1)

    def chance_at(self, length: int) -> float:
        digits = torch.arange(self.modulus)
        products = digits.outer(digits) % self.modulus
        multiply = torch.zeros(self.modulus, self.modulus, dtype=torch.float64)
        multiply.scatter_add_(1, products, torch.full_like(multiply, 1 / self.modulus))
        sums = ((digits.unsqueeze(1) + digits) % self.modulus).flatten()

        def add(state: Tensor) -> Tensor:
            return torch.zeros(self.modulus, dtype=torch.float64).index_add(0, sums, state.flatten())

        state = torch.zeros(self.modulus, self.modulus, dtype=torch.float64)  # of total and term
        state[0] = 1 / self.modulus
        for _ in range((length - 1) // 2):
            state = state @ multiply / 3 + 2 / 3 * add(state).unsqueeze(1) / self.modulus
        return add(state).max().item()
