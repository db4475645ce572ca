"""Selective copying: pick data tokens out of a long stretch of blanks, and repeat them in order.

Albert Gu and Tri Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, section 4.1.1. The
selective copying of Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD),
differs in its places: they are nearly even, and the last data token always comes just before the copy token.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED


class SelectiveCopy(DrawnTask):
    """Inputs (batch, length + symbols) of tokens: `symbols` data tokens (0 to `classes` - 1) at random places among
    blanks (`classes`), in `length` steps; then an empty token (`classes` + 1) for each answer. Targets: the data
    tokens in their order, at the empty tokens alone.

    All sets of places are equally likely, as in Mamba. The data are uniform, so chance is 1 / `classes`.

    Args:
        length: see `DrawnTask`; at least `symbols`.
        symbols: the number of data tokens to copy.
        classes: the number of different data tokens.

    Example:
        >>> task = SelectiveCopy(length=5, symbols=2, classes=4)
        >>> task.solve(torch.tensor([[4, 3, 4, 4, 1, 5, 5]]))
        tensor([[-100, -100, -100, -100, -100,    3,    1]])
    """

    tokens = True
    every_step = True
    metric_name = "accuracy"
    solved_at = 0.99

    def __init__(
        self,
        length: int | Sequence[int],
        symbols: int = 16,
        classes: int = 14,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        check_whole("symbols", symbols, 1)
        check_whole("classes", classes, 2)
        self.copied, self.classes = symbols, classes
        self.min_length = symbols
        super().__init__(length, **lengths)
        self.input_size = classes + 2
        self.output_size = classes

    def chance_at(self, length: int) -> float:
        return 1 / self.classes

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.full((size, length + self.copied), self.classes)
        inputs[:, length:] = self.classes + 1
        places = torch.rand(size, length, generator=generator).topk(self.copied, dim=1).indices
        data = torch.randint(0, self.classes, (size, self.copied), generator=generator)
        return inputs.scatter_(1, places, data)

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.full_like(inputs, IGNORED)
        targets[:, -self.copied :] = inputs[inputs < self.classes].reshape(-1, self.copied)
        return targets
