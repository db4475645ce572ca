"""Copy memory: hold a few symbols over a long silence, then repeat them; and two tasks that score the repetition alone.

Sepp Hochreiter and Juergen Schmidhuber, 1997; in this form Martin Arjovsky, Amar Shah and Yoshua Bengio,
"Unitary Evolution Recurrent Neural Networks", ICML 2016, section 5.1.

Delayed recall: the copying task of Albert Gu, Karan Goel and Christopher Ré, "Efficiently Modeling Long Sequences with
Structured State Spaces", ICLR 2022, in its code.

Noiseless memory: the 5-bit and 20-bit problems, which go back to Hochreiter and Schmidhuber, as in James Martens and
Ilya Sutskever, "Learning Recurrent Neural Networks with Hessian-Free Optimization", ICML 2011.
"""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED, Split

SHARES: list[Split] = ["train", "val", "test"]


class CopyMemory(DrawnTask):
    """Inputs (batch, length + 2 * symbols): `symbols` random symbols from 1 to `classes`, `length` - 1 blanks (0)
    and `symbols` + 1 go signals (`classes` + 1). Targets, at every step: blanks, then the symbols at the end.

    A hash assigns 80 % of the possible rows of symbols to training, 10 % to validation and 10 % to the test, so that no
    split contains a row of another, unless there are fewer than 500 rows.

    The best answer without memory knows the blanks, and all symbols are equally likely, so chance is
    symbols * ln(classes) / (length + 2 * symbols). (The output has classes + 2 units; the go signal is never right.)

    Args:
        length: how long the symbols are to be held, T in the papers; see `DrawnTask`.
        symbols: the number of symbols to hold.
        classes: the number of different symbols.

    Example:
        >>> task = CopyMemory(length=3, symbols=2, classes=8)
        >>> task.solve(torch.tensor([[5, 7, 0, 0, 9, 9, 9]]))
        tensor([[0, 0, 0, 0, 0, 5, 7]])
    """

    tokens = True
    every_step = True
    metric_name = "cross_entropy"
    remembered = "the symbol to be recalled next, 0 after the last"

    def __init__(
        self,
        length: int | Sequence[int],
        symbols: int = 10,
        classes: int = 8,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("symbols", symbols, 1)
        check_whole("classes", classes, 2)
        self.held, self.classes = symbols, classes
        self.input_size = self.output_size = classes + 2
        self.solved_at = 0.1 * self.chance

    def chance_at(self, length: int) -> float:
        return self.held * math.log(self.classes) / (length + 2 * self.held)

    def draw_for(self, split: Split, size: int, length: int, generator: torch.Generator) -> Tensor:
        if self.classes**self.held < 500:
            return self.draw(size, length, generator)
        kept = torch.empty(0, self.held, dtype=torch.long)
        while len(kept) < size:
            drawn = self._symbols(2 * size, generator)
            kept = torch.cat([kept, drawn[self._owner(drawn) == SHARES.index(split)]])
        return self._around(kept[:size], length)

    def _owner(self, symbols: Tensor) -> Tensor:
        """The split that each row of symbols belongs to: 0, 1 or 2 for train, val and test."""
        mixed = torch.zeros(len(symbols), dtype=torch.long)
        for symbol in symbols.unbind(1):
            mixed = (mixed ^ symbol) * 0x9E3779B97F4A7C1  # wraps around
            mixed = mixed ^ (mixed >> 29)
        return (mixed % 10 - 7).clamp(min=0)

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return self._around(self._symbols(size, generator), length)

    def _symbols(self, size: int, generator: torch.Generator) -> Tensor:
        return torch.randint(1, self.classes + 1, (size, self.held), generator=generator)

    def _around(self, symbols: Tensor, length: int) -> Tensor:
        """The inputs with these symbols."""
        inputs = torch.zeros(len(symbols), length + 2 * self.held, dtype=torch.long)
        inputs[:, : self.held] = symbols
        inputs[:, -self.held - 1 :] = self.classes + 1
        return inputs

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.zeros_like(inputs)
        targets[:, -self.held :] = inputs[:, : self.held]
        return targets

    def states(self, inputs: Tensor) -> Tensor:
        due = inputs[:, :1].repeat(1, inputs.size(1))
        due[:, -self.held :] = F.pad(inputs[:, 1 : self.held], (0, 1))
        return due


class DelayedRecall(CopyMemory):
    """Inputs and arguments as in `CopyMemory`, but only the recalled symbols are scored.

    Chance is ln(classes) at any length.

    Example:
        >>> task = DelayedRecall(length=3, symbols=2, classes=8)
        >>> task.solve(torch.tensor([[5, 7, 0, 0, 9, 9, 9]]))
        tensor([[-100, -100, -100, -100, -100,    5,    7]])
    """

    def chance_at(self, length: int) -> float:
        return math.log(self.classes)

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.full_like(inputs, IGNORED)
        targets[:, -self.held :] = inputs[:, : self.held]
        return targets


class NoiselessMemory(DelayedRecall):
    """As `DelayedRecall`, but recall is announced only once: inputs (batch, length + 2 * symbols) are the symbols,
    `length` - 1 blanks (0), one cue (`classes` + 1), and blanks again while the symbols are to be recalled.

    Five symbols of 2 kinds are the 5-bit problem, ten of 5 kinds (23 bits) the so-called 20-bit problem. The metric is
    accuracy, and chance is 1 / `classes`. The 32 possible rows of the 5-bit problem are in every split, as in the
    paper; the 9,765,625 of the other are divided as in `CopyMemory`.

    Example:
        >>> task = NoiselessMemory(length=3, symbols=2, classes=2)
        >>> task.solve(torch.tensor([[2, 1, 0, 0, 3, 0, 0]]))
        tensor([[-100, -100, -100, -100, -100,    2,    1]])
    """

    metric_name = "accuracy"

    def __init__(
        self,
        length: int | Sequence[int],
        symbols: int = 5,
        classes: int = 2,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        super().__init__(length, symbols, classes, **lengths)
        self.solved_at = 0.99

    def chance_at(self, length: int) -> float:
        return 1 / self.classes

    def _around(self, symbols: Tensor, length: int) -> Tensor:
        inputs = super()._around(symbols, length)
        inputs[:, -self.held :] = 0
        return inputs
