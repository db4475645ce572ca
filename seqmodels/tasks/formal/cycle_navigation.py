"""Cycle navigation: where does a walk on a cycle end?

A regular task of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
"""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings


class CycleNavigation(FormalTask):
    """Inputs (batch, length): random moves, one back (0), none (1) or one forward (2); target: the position at the end
    of a walk that starts at 0.

    The probability of each position is exact, by the Fourier transform of one move on the cycle. Chance is the
    largest one: 1/3 after one move, falling to 1 / `cycle` after many.

    Args:
        length: see `DrawnTask`.
        cycle: the number of positions.

    Example:
        >>> CycleNavigation(length=4).solve(torch.tensor([[2, 2, 2, 0], [0, 1, 0, 1]]))  # +1 +1 +1 -1; -1 -1
        tensor([2, 3])
    """

    input_size = 3
    remembered = "the position on the cycle"

    def __init__(self, length: int | Sequence[int], cycle: int = 5, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("cycle", cycle, 2)
        self.cycle = self.output_size = cycle

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 3, (size, length), generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        return (inputs - 1).sum(dim=1) % self.cycle

    def states(self, inputs: Tensor) -> Tensor:
        return (inputs - 1).cumsum(dim=1) % self.cycle

    def chance_at(self, length: int) -> float:
        angles = [2 * math.pi * wave / self.cycle for wave in range(self.cycle)]
        after_all = [((1 + 2 * math.cos(angle)) / 3) ** length for angle in angles]
        return max(
            sum(wave * math.cos(angle * position) for wave, angle in zip(after_all, angles, strict=True)) / self.cycle
            for position in range(self.cycle)
        )
