"""Priority sort: random vectors have priorities; repeat those of highest priority in order.

Alex Graves, Greg Wayne and Ivo Danihelka, "Neural Turing Machines", arXiv:1410.5401, 2014, section 4.5.
"""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings


class PrioritySort(DrawnTask):
    """Inputs (batch, length + kept, bits + 2): `length` vectors of random bits, each with a priority from U[-1, 1] and
    a 0; then `kept` times zeros and a 1, which asks for an answer. Targets (batch, length + kept, bits): at these steps
    the bits of the `kept` highest priorities, the highest first; of equal ones the earlier first.

    The best constant answer is 1/2 for each bit, so chance is 1/4. The task counts as solved at a hundredth of it: one
    bit in 100 unknown.

    Args:
        length: see `DrawnTask`; at least `kept`.
        kept: the number of vectors to repeat.
        bits: the number of bits of a vector.

    Example:
        Of 1, 0 and 1 with the priorities -0.5, 0.9 and 0.1 the last two are kept:

        >>> task = PrioritySort(length=3, kept=2, bits=1)
        >>> vectors = [[1.0, -0.5, 0.0], [0.0, 0.9, 0.0], [1.0, 0.1, 0.0]]
        >>> task.solve(torch.tensor([[*vectors, [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])).squeeze()
        tensor([nan, nan, nan, 0., 1.])
    """

    every_step = True
    metric_name = "mse"
    solved_at = 0.0025

    def __init__(
        self,
        length: int | Sequence[int],
        kept: int = 16,
        bits: int = 8,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        check_whole("kept", kept, 1)
        check_whole("bits", bits, 1)
        self.kept = kept
        self.min_length = kept
        super().__init__(length, **lengths)
        self.input_size = bits + 2
        self.output_size = bits

    def chance_at(self, length: int) -> float:
        return 0.25

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.zeros(size, length + self.kept, self.input_size)
        inputs[:, :length, : self.output_size].random_(2, generator=generator)
        inputs[:, :length, -2].uniform_(-1, 1, generator=generator)
        inputs[:, length:, -1] = 1
        return inputs

    def solve(self, inputs: Tensor) -> Tensor:
        vectors = inputs[:, : -self.kept, : self.output_size]
        priorities = inputs[:, : -self.kept, -2]
        order = priorities.argsort(dim=1, descending=True, stable=True)[:, : self.kept]
        answers = vectors.gather(1, order.unsqueeze(2).expand(-1, -1, self.output_size))
        return torch.cat([torch.full_like(vectors, math.nan), answers], dim=1)
