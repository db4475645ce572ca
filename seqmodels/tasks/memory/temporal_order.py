"""Temporal order: in which order did a few marked symbols come, far apart among distractors?

Sepp Hochreiter and Juergen Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997, section 5.6.
"""

import itertools
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings

DISTRACTORS = 4
X, Y, BEGIN, END = range(DISTRACTORS, DISTRACTORS + 4)
WINDOWS = {2: (1, 5), 3: (1, 10 / 3, 20 / 3)}
"""The starts of the windows of the marked symbols, in tenths of the length; each window is a tenth long."""


class TemporalOrder(DrawnTask):
    """Inputs (batch, length) of tokens: begin (6), then distractors (0 to 3) among which two or three are X (4) or
    Y (5), then end (7); target: the order, as a class: XX, XY, YX or YY (or XXX, XXY, ..., YYY).

    With a tenth of the length (rounded down) as the unit, the marked symbols lie at places 1..2 and 5..6, or 1..2,
    3 1/3..4 1/3 and 6 2/3..7 2/3, drawn uniformly. For lengths 100 to 109 these are the paper's places. All 2^symbols
    orders are equally likely, so chance is 1 / 2^symbols.

    Args:
        length: see `DrawnTask`; at least 10. The paper uses 100 to 110.
        symbols: the number of marked symbols, 2 or 3.

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
    remembered = "the marked symbols so far: none, X, Y, XX, XY, YX, YY and so on, from 0"

    def __init__(self, length: int | Sequence[int], symbols: int = 2, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("symbols", symbols, 2)
        if symbols > 3:
            raise ValueError(f"symbols should be 2 or 3, got {symbols}")
        self.marked = symbols
        self.symbols = ["".join(order) for order in itertools.product("XY", repeat=symbols)]
        self.output_size = len(self.symbols)

    def chance_at(self, length: int) -> float:
        return 1 / self.output_size

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        inputs = torch.randint(0, DISTRACTORS, (size, length), generator=generator)
        inputs[:, 0], inputs[:, -1] = BEGIN, END
        unit = length // 10
        starts = torch.tensor([int(start * unit) for start in WINDOWS[self.marked]])
        places = starts + torch.randint(0, unit + 1, (size, self.marked), generator=generator)
        marked = torch.randint(X, Y + 1, (size, self.marked), generator=generator)
        return inputs.scatter_(1, places, marked)

    def solve(self, inputs: Tensor) -> Tensor:
        marked = (inputs == X) | (inputs == Y)
        later = self.marked - marked.cumsum(dim=1)  # the number still to come: the place of a binary digit
        return ((inputs == Y) * 2**later).sum(dim=1)

    def states(self, inputs: Tensor) -> Tensor:
        state, states = torch.zeros_like(inputs[:, 0]), []
        for token in inputs.unbind(1):
            state = torch.where(token == X, 2 * state + 1, torch.where(token == Y, 2 * state + 2, state))
            states.append(state)
        return torch.stack(states, dim=1)
