"""The embedded Reber grammar: which symbols may come next?

    B T (an inner string) T E   or   B P (an inner string) P E

Axel Cleeremans, David Servan-Schreiber and James McClelland, "Finite State Automata and Simple Recurrent Networks",
Neural Computation 1(3), 1989; in this form Scott Fahlman, 1991, and Sepp Hochreiter and Juergen Schmidhuber, "Long
Short-Term Memory", Neural Computation 9(8), 1997, section 5.1. All but one answer follow from the last few symbols; the
last symbol but one repeats the second, however long ago that was.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.formal.automata import Automaton
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.task import IGNORED

SYMBOLS = "BTSXPVE"
INNER = [("T1", "P2"), ("S1", "X3"), ("T2", "V4"), ("X2", "S5"), ("P3", "V5")]
"""An inner string between its B and its E: for each state the two symbols that may follow, and the states they lead to;
at 5 it ends."""
SETS = ["PT", "B", "SX", "TV", "PV", "E", "T", "P"]
"""What may come next, in alphabetical order: the classes."""


class Reber(FormalTask):
    """Inputs (batch, length): a random string of the embedded Reber grammar, as tokens B T S X P V E from 0 to 6.
    Targets, at every step but the last: the set of symbols that may come next, as a class; 0 to 7 are the sets TP, B,
    SX, TV, PV, E, T, P.

    All strings of a length are equally likely. Guess line: the mean over the steps of the most frequent class there,
    which is exact, from the distribution of the state of the grammar at each step.

    Only one answer in a string takes a long memory, so accuracy comes close to 1 without it. The papers ask for
    strings without any mistake; here it is solved with one mistake, or less, in ten strings
    of the longest test length.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least 9.

    Example:
        >>> task = Reber(length=9)
        >>> task.solve(torch.tensor([[0, 1, 0, 4, 5, 5, 6, 1, 6]]))  # B T B P V V E T E
        tensor([[   0,    1,    0,    3,    4,    5,    6,    5, -100]])
    """

    input_size = len(SYMBOLS)
    output_size = len(SETS)
    every_step = True
    answers_follow = True
    min_length = 9

    def __init__(self, length: int | Sequence[int], **lengths: Unpack[Lengths]) -> None:
        super().__init__(length, **lengths)
        self.solved_at = 1 - 0.1 / (max(self.test_lengths) - 1)
        end, nowhere = len(INNER), len(INNER) + 1
        symbols = [[SYMBOLS.index(arc[0]) for arc in arcs] for arcs in INNER]
        ways = [[int(arc[1]) for arc in arcs] for arcs in INNER]
        self.symbols = torch.tensor(symbols).flatten()
        self.automaton = Automaton(torch.tensor([*ways, *[[nowhere] * 2] * 2]), torch.arange(nowhere + 1) == end)
        self.classes = torch.tensor([SETS.index("".join(sorted(arc[0] for arc in arcs))) for arcs in INNER] + [5])
        self.frames = torch.tensor([[SYMBOLS.index(symbol) for symbol in frame] for frame in ("BTBETE", "BPBEPE")])
        self.outer_class = torch.tensor([SETS.index(symbol) if symbol in "TP" else IGNORED for symbol in SYMBOLS])

        # Inside, the last two symbols tell the state: T or P and B, then B and an arc's symbol, then those of two arcs.
        arcs = [(state, *arc) for state in range(end) for arc in zip(symbols[state], ways[state], strict=True)]
        begin, top, bottom = (SYMBOLS.index(symbol) for symbol in "BTP")
        self.class_after = torch.zeros(self.input_size, self.input_size, dtype=torch.long)
        self.class_after[[top, bottom], begin] = self.classes[0]
        for _, before, reached in [(None, begin, 0), *arcs]:
            for state, symbol, onwards in arcs:
                if state == reached:
                    self.class_after[before, symbol] = self.classes[onwards]

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        frames = self.frames[torch.randint(0, 2, (size,), generator=generator)]
        steps = self.automaton.draw(torch.zeros(size, dtype=torch.long), length - 6, generator)
        return torch.cat([frames[:, :3], self.symbols.take(steps), frames[:, 3:]], dim=1)

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.full_like(inputs, IGNORED)
        targets[:, 0] = SETS.index("PT")
        targets[:, 1] = SETS.index("B")
        targets[:, 2:-3] = self.class_after.take(inputs[:, 1:-4] * self.input_size + inputs[:, 2:-3])
        targets[:, -3] = self.outer_class.take(inputs[:, 1])
        targets[:, -2] = SETS.index("E")
        return targets

    def chance_at(self, length: int) -> float:
        state = torch.zeros(len(self.automaton.table), dtype=torch.float64)
        state[0] = right = 1.0  # the start of the inner string
        for remaining in range(length - 6, 0, -1):
            second = self.automaton.second(remaining) * state
            state = torch.zeros_like(state).index_add_(
                0, self.automaton.table.T.flatten(), torch.cat([state - second, second])
            )
            right += torch.zeros_like(state).index_add_(0, self.classes, state[: len(self.classes)]).max().item()
        return (right + 3.5) / (length - 1)  # the symbols before and after it, and half of the last but one
