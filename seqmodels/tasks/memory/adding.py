"""The adding problem: the sum of two marked numbers among many; and the same with their product.

Sepp Hochreiter and Juergen Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, sections 5.4 and 5.5.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_flag
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings


class Adding(DrawnTask):
    """Inputs (batch, length, 2): a number from U[0, 1] and a marker; target: the sum of the two marked numbers.

    The best constant answer is 1, so chance is the variance of the sum of two uniform numbers, 1/6.

    Args:
        length: see `DrawnTask`; at least 2.
        halves: one marker lies in each half of the sequence, as in the paper; otherwise both lie anywhere.

    Example:
        >>> task = Adding(length=4)
        >>> task.solve(torch.tensor([[[0.5, 0.0], [0.25, 1.0], [0.75, 1.0], [0.1, 0.0]]]))
        tensor([[1.]])
    """

    input_size = 2
    output_size = 1
    metric_name = "mse"
    solved_at = 0.01
    min_length = 2
    remembered = "the sum of the marked numbers so far"

    def __init__(self, length: int | Sequence[int], halves: bool = True, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_flag("halves", halves)
        self.halves = halves

    def chance_at(self, length: int) -> float:
        return 1 / 6

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.zeros(size, length, 2)
        numbers, markers = inputs.unbind(dim=2)
        numbers.uniform_(generator=generator)
        if self.halves:
            middle = length // 2
            first = torch.randint(0, middle, (size, 1), generator=generator)
            second = torch.randint(middle, length, (size, 1), generator=generator)
            places = torch.cat([first, second], dim=1)
        else:
            places = torch.rand(size, length, generator=generator).topk(2, dim=1).indices
        markers.scatter_(1, places, 1.0)
        return inputs

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs.prod(dim=2).sum(dim=1, keepdim=True)

    def states(self, inputs: Tensor) -> Tensor:
        return inputs.prod(dim=2).cumsum(dim=1)


class Multiplication(Adding):
    """Inputs and arguments as in `Adding`; target: the product of the two marked numbers.

    The best constant answer is 1/4, so chance is the variance of the product, E[u^2]^2 - 1/16 = 1/9 - 1/16 = 7/144.

    Example:
        >>> task = Multiplication(length=4)
        >>> task.solve(torch.tensor([[[0.5, 0.0], [0.25, 1.0], [0.5, 1.0], [0.1, 0.0]]]))
        tensor([[0.1250]])
    """

    solved_at = 0.003
    remembered = "the product of the marked numbers so far, 1 before the first"

    def chance_at(self, length: int) -> float:
        return 7 / 144

    def solve(self, inputs: Tensor) -> Tensor:
        numbers, markers = inputs.unbind(dim=2)
        return numbers.masked_fill(markers != 1, 1).prod(dim=1, keepdim=True)

    def states(self, inputs: Tensor) -> Tensor:
        numbers, markers = inputs.unbind(dim=2)
        return numbers.masked_fill(markers != 1, 1).cumprod(dim=1)
