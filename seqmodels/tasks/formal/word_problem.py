"""The word problem of a group of permutations: what is the product so far?

In S3 and other solvable groups it can be computed in constant depth with counting (TC0); in S5, which is not solvable,
it is complete for NC1 (David Barrington, "Bounded-Width Polynomial-Size Branching Programs Recognize Exactly Those
Languages in NC1", 1989). William Merrill, Jackson Petty and Ashish Sabharwal, "The Illusion of State in State-Space
Models", ICML 2024, use it to ask which layers can track a state.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_choice
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings

POINTS = {"S3": 3, "S4": 4, "S5": 5}


class WordProblem(FormalTask):
    """Inputs (batch, length): random permutations of n points as tokens, numbered from 0 to n! - 1 in lexicographic
    order; targets, at every step: the permutation that results from those read so far, one applied after the other.

    The results are as uniform as the inputs, so chance is 1 / n!, at each step.

    Args:
        length: see `DrawnTask`.
        group: S3, S4 or S5, all permutations of 3, 4 or 5 points.

    Example:
        >>> task = WordProblem(length=3, group="S3")
        >>> task.elements  # where 0, 1 and 2 go
        [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
        >>> task.solve(torch.tensor([[1, 2, 4]]))  # swap 1 and 2, then 0 and 1, then go 0 to 2 to 1
        tensor([[1, 3, 0]])
    """

    every_step = True
    remembered = "the number of the product so far"

    def __init__(self, length: int | Sequence[int], group: str = "S5", **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_choice("group", group, POINTS)
        self.group = group
        self.elements = list(permutations(range(POINTS[group])))
        self.input_size = self.output_size = len(self.elements)
        number = {element: index for index, element in enumerate(self.elements)}
        self.products = torch.tensor(
            [[number[tuple(then[point] for point in first)] for then in self.elements] for first in self.elements]
        )

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, self.input_size, (size, length), generator=generator)

    def solve(self, inputs: Tensor) -> Tensor:
        product, results = inputs[:, 0], [inputs[:, 0]]
        for element in inputs[:, 1:].unbind(1):
            product = self.products[product, element]
            results.append(product)
        return torch.stack(results, dim=1)

    def states(self, inputs: Tensor) -> Tensor:
        return self.solve(inputs)

    def chance_at(self, length: int) -> float:
        return 1 / self.output_size
