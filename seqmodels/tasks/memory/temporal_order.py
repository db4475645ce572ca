"""Temporal order: a few marked symbols, far apart among distractors; in which order did they come?

Sepp Hochreiter and Juergen Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 5.6.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import DrawnTask, Lengths
from seqmodels.tasks.task import check_whole

DISTRACTORS = 4
X, Y, BEGIN, END = range(DISTRACTORS, DISTRACTORS + 4)
WINDOWS = {2: (1, 5), 3: (1, 10 / 3, 20 / 3)}
"""Where the windows of the marked symbols begin, in tenths of the length; each is a tenth long."""


class TemporalOrder(DrawnTask):
    """Inputs (batch, length) of tokens: begin (6), then distractors (0 to 3) among which two or three are X (4) or
    Y (5), then end (7); target: which of the orders XX, XY, YX, YY (or XXX, XXY, ..., YYY) it was.

    With a tenth of the length (rounded down) as the unit, the marked symbols lie at places 1..2 and 5..6, or 1..2,
    3 1/3..4 1/3 and 6 2/3..7 2/3, drawn uniformly. For lengths 100 to 109 these are the paper's places. All 2^symbols
    orders are equally frequent, so that a guess is right once in as many times.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least 10. The paper's is 100 to 110.
        symbols: how many are marked, 2 or 3.

    Example:
        Y before X, the third of the orders:

        >>> TemporalOrder(length=10).solve(torch.tensor([[6, 0, 5, 3, 1, 1, 4, 0, 2, 7]]))
        tensor([2])
    """

    input_size = DISTRACTORS + 4
    tokens = True
    metric_name = "accuracy"
    solved_at = 0.99
    min_length = 10

    def __init__(
        self,
        length: int | Sequence[int],
        symbols: int = 2,
        **lengths: Unpack[Lengths],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("symbols", symbols, 2)
        if symbols > 3:
            raise ValueError(f"symbols should be 2 or 3, got {symbols}")
        self.symbols = symbols
        self.output_size = 2**symbols

    def chance_at(self, length: int) -> float:
        return 1 / self.output_size

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.randint(0, DISTRACTORS, (size, length), generator=generator)
        inputs[:, 0], inputs[:, -1] = BEGIN, END
        unit = length // 10
        starts = torch.tensor([int(start * unit) for start in WINDOWS[self.symbols]])
        places = starts + torch.randint(0, unit + 1, (size, self.symbols), generator=generator)
        marked = torch.randint(X, Y + 1, (size, self.symbols), generator=generator)
        return inputs.scatter_(1, places, marked)

    def solve(self, inputs: Tensor) -> Tensor:
        marked = (inputs == X) | (inputs == Y)
        later = self.symbols - marked.cumsum(dim=1)  # how many are still to come: the place of a binary digit
        return ((inputs == Y) * 2**later).sum(dim=1)
