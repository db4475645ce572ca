"""Random permutation: the first of many random symbols determines the last.

From section 5.2 of Sepp Hochreiter and Juergen Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; in
this form in James Martens and Ilya Sutskever, "Learning Recurrent Neural Networks with Hessian-Free Optimization", ICML
2011. Despite the name the symbols between are drawn with replacement.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings


class RandomPermutation(DrawnTask):
    """Inputs (batch, length) of tokens: 0 or 1, then random tokens from 2 to `symbols` - 1; target: the token that
    comes next, which repeats the first one.

    In the papers the network predicts every next token and is judged by the last one, as the others cannot be known.
    Here it predicts the last one only. Chance is 1/2.

    Args:
        length: see `DrawnTask`.
        symbols: the size of the vocabulary.

    Example:
        >>> RandomPermutation(length=5, symbols=100).solve(torch.tensor([[1, 37, 99, 2, 37]]))
        tensor([1])
    """

    output_size = 2
    tokens = True
    metric_name = "accuracy"
    solved_at = 0.99
    remembered = "the first symbol"

    def __init__(self, length: int | Sequence[int], symbols: int = 100, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("symbols", symbols, 3)
        self.input_size = symbols

    def chance_at(self, length: int) -> float:
        return 0.5

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.randint(2, self.input_size, (size, length), generator=generator)
        inputs[:, 0] = torch.randint(0, 2, (size,), generator=generator)
        return inputs

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs[:, 0]

    def states(self, inputs: Tensor) -> Tensor:
        return inputs[:, :1].expand_as(inputs)
