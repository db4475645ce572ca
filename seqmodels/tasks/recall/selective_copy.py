"""Selective copying: pick the data out of a long stretch of blanks, and give them back in order.

Albert Gu and Tri Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, section 4.1.1; with a
copy of Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD).
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import DrawnTask, Lengths
from seqmodels.tasks.task import IGNORED, check_whole


class SelectiveCopy(DrawnTask):
    """Inputs (batch, length + symbols) of tokens: `symbols` data tokens (0 to `classes` - 1) at random places among
    blanks (`classes`), in `length` steps; then an empty token (`classes` + 1) for each answer. Targets: at these last
    steps the data tokens in their order, nothing before.

    All sets of places are equally likely, and the data uniform, so that a guess is right once in `classes` times.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least `symbols`.
        symbols: how many data tokens are to be copied.
        classes: how many different data tokens there are.

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
        **lengths: Unpack[Lengths],
    ) -> None:
        check_whole("symbols", symbols, 1)
        check_whole("classes", classes, 2)
        self.symbols, self.classes = symbols, classes
        self.min_length = symbols
        super().__init__(length, **lengths)
        self.input_size = classes + 2
        self.output_size = classes

    def chance_at(self, length: int) -> float:
        return 1 / self.classes

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.full((size, length + self.symbols), self.classes)
        inputs[:, length:] = self.classes + 1
        places = torch.rand(size, length, generator=generator).topk(self.symbols, dim=1).indices
        data = torch.randint(0, self.classes, (size, self.symbols), generator=generator)
        return inputs.scatter_(1, places, data)

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.full_like(inputs, IGNORED)
        targets[:, -self.symbols :] = inputs[inputs < self.classes].reshape(-1, self.symbols)
        return targets
