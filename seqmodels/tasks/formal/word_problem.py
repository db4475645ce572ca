"""The word problem of a group of permutations: what is the product so far?

In S3 and other solvable groups it can be computed in constant depth with counting (TC0); in A5 and S5, which are not
solvable, it is complete for NC1 (David Barrington, "Bounded-Width Polynomial-Size Branching Programs Recognize Exactly
Those Languages in NC1", 1989). William Merrill, Jackson Petty and Ashish Sabharwal, "The Illusion of State in
State-Space Models", ICML 2024, use it to ask which layers can track a state. They compare three groups of 60 elements:
Z60, which is commutative, A4xZ5, which is not but is solvable, and A5.

Riccardo Grazzi, Julien Siems, Arber Zela, Jörg Franke, Frank Hutter and Massimiliano Pontil, "Unlocking State-Tracking
in Linear RNNs Through Negative Eigenvalues", ICLR 2025, figure 4, restrict the inputs to swaps of two points, each of
which is one reflection of a linear recurrence.
"""

from collections.abc import Sequence
from itertools import combinations, permutations
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_choice, check_flag
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings

Permutation = tuple[int, ...]
"""Where each point goes."""


def symmetric(points: int) -> list[Permutation]:
    return list(permutations(range(points)))


def alternating(points: int) -> list[Permutation]:
    """The even permutations: an even number of pairs changes its order."""
    return [p for p in symmetric(points) if sum(a > b for a, b in combinations(p, 2)) % 2 == 0]


def cyclic(points: int) -> list[Permutation]:
    """The rotations, by 0, 1, 2 .. points."""
    return [tuple((point + turn) % points for point in range(points)) for turn in range(points)]


def side_by_side(first: list[Permutation], second: list[Permutation]) -> list[Permutation]:
    """The direct product; the points of the second group follow those of the first."""
    return [(*one, *(len(one) + point for point in other)) for one in first for other in second]


GROUPS = {
    "S3": symmetric(3),
    "S4": symmetric(4),
    "S5": symmetric(5),
    "A5": alternating(5),
    "Z60": cyclic(60),
    "A4xZ5": side_by_side(alternating(4), cyclic(5)),
}
"""The elements of each group, in lexicographic order; the first is the identity."""


class WordProblem(FormalTask):
    """Inputs (batch, length): random elements of a group of permutations as tokens, numbered from 0 in lexicographic
    order; targets, at every step: the permutation that results from those read so far, one applied after the other.

    The results are as uniform as the inputs, so chance is 1 / n for n elements, at each step. With `swaps` they are
    not; chance is then the probability of the likeliest permutation after each step, on average over the steps.

    Args:
        length: see `DrawnTask`.
        group: S3, S4 or S5, all permutations of 3, 4 or 5 points; A5, the even ones of 5 points; Z60, the rotations of
            60 points; or A4xZ5, the even permutations of 4 points beside the rotations of 5 others.
        swaps: draw only the swaps of any two points, and the identity, all equally often. Tokens keep their numbers,
            and answers range over the whole group. Only S3, S4 and S5 have swaps.
        lengths: see `DrawnTask`.

    Raises:
        TypeError, ValueError: as `DrawnTask`; and if `group` is unknown, or has no swaps although `swaps` is True.

    Example:
        >>> task = WordProblem(length=3, group="S3")
        >>> task.elements  # where 0, 1 and 2 go
        [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        >>> task.solve(torch.tensor([[1, 2, 4]]))  # swap 1 and 2, then 0 and 1, then go 0 to 2 to 1
        tensor([[1, 3, 0]])
        >>> WordProblem(length=3, group="S3", swaps=True).drawn  # the identity and three swaps
        tensor([0, 1, 2, 5])
    """

    every_step = True
    remembered = "the number of the product so far"

    def __init__(
        self,
        length: int | Sequence[int],
        group: str = "S5",
        swaps: bool = False,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        super().__init__(length, **lengths)
        check_choice("group", group, GROUPS)
        check_flag("swaps", swaps)
        self.group, self.swaps = group, swaps
        self.elements = GROUPS[group]
        self.input_size = self.output_size = len(self.elements)
        number = {element: index for index, element in enumerate(self.elements)}
        self.products = torch.tensor(
            [[number[tuple(then[point] for point in first)] for then in self.elements] for first in self.elements]
        )
        moved = [sum(point != place for place, point in enumerate(element)) for element in self.elements]
        if swaps and 2 not in moved:
            raise ValueError(f"swaps should be False for the group {group!r}, which has none, got True")
        self.drawn = torch.tensor([index for index, points in enumerate(moved) if points <= 2 or not swaps])

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return self.drawn[torch.randint(0, len(self.drawn), (size, length), generator=generator)]

    def solve(self, inputs: Tensor) -> Tensor:
        product, results = inputs[:, 0], [inputs[:, 0]]
        for element in inputs[:, 1:].unbind(1):
            product = self.products[product, element]
            results.append(product)
        return torch.stack(results, dim=1)

    def states(self, inputs: Tensor) -> Tensor:
        return self.solve(inputs)

    def chance_at(self, length: int) -> float:
        if not self.swaps:
            return 1 / self.output_size
        results = self.products[:, self.drawn]  # of each product so far, with each element that can follow
        likelihood = torch.zeros(self.output_size, dtype=torch.float64)
        likelihood[0] = 1.0  # the identity is the product of nothing
        best = 0.0
        for _ in range(length):
            shares = likelihood.unsqueeze(1).expand_as(results) / len(self.drawn)
            likelihood = torch.zeros_like(likelihood).index_add(0, results.flatten(), shares.flatten())
            best += likelihood.max().item()
        return best / length
