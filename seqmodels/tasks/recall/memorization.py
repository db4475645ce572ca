"""Memorization: the values of keys are never shown, and the same in every sequence. The weights have to store them.

Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD).
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED


class Memorization(DrawnTask):
    """Inputs (batch, length or length - 1) of tokens: a key (0 to `keys` - 1), a gap (2 * `keys`) for its value, a
    key, a gap, and so on. Targets: at each gap the value (`keys` to 2 * `keys` - 1) of the key before it.

    Each key has a value of its own, the same in all sequences and splits. Keys are uniform, so chance is 1 / `keys`.

    Args:
        length: see `DrawnTask`; at least 2, rounded down to an even number.
        keys: the number of keys, and of values.
        seed: selects one of the possible maps from keys to values.

    Example:
        >>> task = Memorization(length=4, keys=3)
        >>> answers = task.solve(torch.tensor([[1, 6, 0, 6]]))
        >>> answers[0, 1] == task.value_of[1] and answers[0, 3] == task.value_of[0]
        tensor(True)
    """

    tokens = True
    every_step = True
    metric_name = "accuracy"
    solved_at = 0.99
    min_length = 2

    def __init__(
        self,
        length: int | Sequence[int],
        keys: int = 127,
        seed: int = 0,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("keys", keys, 2)
        check_whole("seed", seed, 0)
        self.keys = keys
        self.input_size = 2 * keys + 1
        self.output_size = 2 * keys
        self.value_of = keys + torch.randperm(keys, generator=torch.Generator().manual_seed(seed))

    def chance_at(self, length: int) -> float:
        return 1 / self.keys

    def fitting(self, length: int) -> int:
        return length - length % 2

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.full((size, self.fitting(length)), 2 * self.keys)
        inputs[:, ::2] = torch.randint(0, self.keys, (size, length // 2), generator=generator)
        return inputs

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.full_like(inputs, IGNORED)
        targets[:, 1::2] = self.value_of[inputs[:, ::2]]
        return targets
