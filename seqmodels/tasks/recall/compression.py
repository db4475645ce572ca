"""Compression: pack random tokens into one state, and unpack them again.

Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD). There a separate decoder
sees only the output at the last token. Here the layer itself continues from its state: the same bottleneck for a
recurrent layer, while attention is free to look back. MAD counts the marker, so its length of 32 is 31 here.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED


class Compression(DrawnTask):
    """Inputs (batch, 2 * length + 1) of tokens: `length` random ones (0 to `classes` - 1), a marker (`classes`), and an
    empty token (`classes` + 1) for each answer. Targets: the random tokens in order, at the empty tokens alone.

    The tokens are uniform, so chance is 1 / `classes`.

    Args:
        length: see `DrawnTask`.
        classes: the number of different tokens to pack.

    Example:
        >>> Compression(length=2, classes=4).solve(torch.tensor([[3, 1, 4, 5, 5]]))
        tensor([[-100, -100, -100,    3,    1]])
    """

    tokens = True
    every_step = True
    metric_name = "accuracy"
    solved_at = 0.99

    def __init__(self, length: int | Sequence[int], classes: int = 15, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("classes", classes, 2)
        self.classes = classes
        self.input_size = classes + 2
        self.output_size = classes

    def chance_at(self, length: int) -> float:
        return 1 / self.classes

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.full((size, 2 * length + 1), self.classes + 1)
        inputs[:, :length] = torch.randint(0, self.classes, (size, length), generator=generator)
        inputs[:, length] = self.classes
        return inputs

    def solve(self, inputs: Tensor) -> Tensor:
        length = inputs.size(1) // 2
        targets = torch.full_like(inputs, IGNORED)
        targets[:, length + 1 :] = inputs[:, :length]
        return targets
