"""Copy memory: hold a few symbols over a long silence, then repeat them.

Sepp Hochreiter and Juergen Schmidhuber, 1997; in this form Martin Arjovsky, Amar Shah and Yoshua Bengio,
"Unitary Evolution Recurrent Neural Networks", ICML 2016, section 5.1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.task import Split, check_whole

SHARES: list[Split] = ["train", "val", "test"]


class CopyMemory(DrawnTask):
    """Inputs (batch, length + 2 * symbols): `symbols` random symbols from 1 to `classes`, `length` - 1 blanks (0)
    and `symbols` + 1 go signals (`classes` + 1). Targets, at every step: blanks, then the symbols at the end.

    The possible rows of symbols are shared out by a hash, 80 % to training, 10 % each to validation and test, so that
    no split contains a row of another; unless there are fewer than 500 of them.

    A memoryless answer knows the blanks and guesses the symbols, so its mean cross-entropy is
    symbols * ln(classes) / (length + 2 * symbols). (The output has classes + 2 units; the go signal is never right.)

    Args:
        length: how long the symbols are to be held, T in the papers; a range, `test_length` and
            `doubling_batches` as in `DrawnTask`.
        symbols: how many symbols are to be held.
        classes: how many different symbols there are.

    Example:
        >>> task = CopyMemory(length=3, symbols=2, classes=8)
        >>> task.solve(torch.tensor([[5, 7, 0, 0, 9, 9, 9]]))
        tensor([[0, 0, 0, 0, 0, 5, 7]])
    """

    tokens = True
    every_step = True
    metric_name = "cross_entropy"

    def __init__(
        self,
        length: int | Sequence[int],
        test_length: int | None = None,
        doubling_batches: int | None = None,
        symbols: int = 10,
        classes: int = 8,
    ) -> None:
        super().__init__(length, test_length, doubling_batches)
        check_whole("symbols", symbols, 1)
        check_whole("classes", classes, 2)
        self.symbols = symbols
        self.classes = classes
        self.input_size = self.output_size = classes + 2
        self.solved_at = 0.1 * self.chance

    def chance_at(self, length: int) -> float:
        return self.symbols * math.log(self.classes) / (length + 2 * self.symbols)

    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.classes**self.symbols < 500:
            return super().batch(split, index, size, generator)
        length = self._length(split, index, generator)
        kept = torch.empty(0, length + 2 * self.symbols, dtype=torch.long)
        while len(kept) < size:
            drawn = self.draw(2 * size, length, generator)
            kept = torch.cat([kept, drawn[self._owner(drawn) == SHARES.index(split)]])
        inputs = kept[:size]
        return inputs, self.solve(inputs)

    def _owner(self, inputs: Tensor) -> Tensor:
        """Which split each row of symbols belongs to: 0, 1 or 2 for train, val and test."""
        mixed = torch.zeros(len(inputs), dtype=torch.long)
        for symbol in inputs[:, : self.symbols].unbind(1):
            mixed = (mixed ^ symbol) * 0x9E3779B97F4A7C1  # wraps around
            mixed = mixed ^ (mixed >> 29)
        return (mixed % 10 - 7).clamp(min=0)

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        symbols = torch.randint(1, self.classes + 1, (size, self.symbols), generator=generator)
        blanks = torch.zeros(size, length - 1, dtype=torch.long)
        go = torch.full((size, self.symbols + 1), self.classes + 1)
        return torch.cat([symbols, blanks, go], dim=1)

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.zeros_like(inputs)
        targets[:, -self.symbols :] = inputs[:, : self.symbols]
        return targets
