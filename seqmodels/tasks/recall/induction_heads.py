"""Induction heads: which token followed the special token at its first occurrence?

Catherine Olsson et al., "In-context Learning and Induction Heads", 2022; as a task in Daniel Fu et al., "Hungry Hungry
Hippos", ICLR 2023, and in Albert Gu and Tri Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
2023, section 4.1.2.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings


class InductionHeads(DrawnTask):
    """Inputs (batch, length) of tokens: random ones (0 to `classes` - 1), and the special token (`classes`) twice, at a
    random place and at the end. Target: the token after its first occurrence.

    The place is uniform over all that leave room for an answer. The answer is uniform, so chance is 1 / `classes`.

    Args:
        length: see `DrawnTask`; at least 3.
        classes: the number of tokens besides the special one.

    Example:
        >>> InductionHeads(length=6, classes=4).solve(torch.tensor([[0, 4, 3, 3, 1, 4]]))
        tensor([3])
    """

    tokens = True
    metric_name = "accuracy"
    solved_at = 0.99
    min_length = 3

    def __init__(self, length: int | Sequence[int], classes: int = 15, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("classes", classes, 2)
        self.classes = classes
        self.input_size = classes + 1
        self.output_size = classes

    def chance_at(self, length: int) -> float:
        return 1 / self.classes

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.randint(0, self.classes, (size, length), generator=generator)
        inputs[:, -1] = self.classes
        places = torch.randint(0, length - 2, (size, 1), generator=generator)
        return inputs.scatter_(1, places, self.classes)

    def solve(self, inputs: Tensor) -> Tensor:
        first = (inputs == self.classes).int().argmax(dim=1, keepdim=True)
        return inputs.gather(1, first + 1).squeeze(1)
