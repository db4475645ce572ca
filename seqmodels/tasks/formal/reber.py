"""The embedded Reber grammar: which symbols may come next?

    B T (an inner string) T E   or   B P (an inner string) P E

Axel Cleeremans, David Servan-Schreiber and James McClelland, "Finite State Automata and Simple Recurrent Networks",
Neural Computation 1(3), 1989; in this form Scott Fahlman, 1991, and Sepp Hochreiter and Juergen Schmidhuber, "Long
Short-Term Memory", Neural Computation 9(8), 1997, section 5.1. All but one answer follow from the last few symbols; the
last symbol but one repeats the second, which may be long ago.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.formal.automata import Automaton
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED

SYMBOLS = "BTSXPVE"
INNER = [("T1", "P2"), ("S1", "X3"), ("T2", "V4"), ("X2", "S5"), ("P3", "V5")]
"""An inner string between its B and its E: for each state the two symbols that may follow, with the states they lead
to. State 5 is the end."""
SETS = ["PT", "B", "SX", "TV", "PV", "E", "T", "P"]
"""The symbols that may come next, in alphabetical order: the classes."""


class Reber(FormalTask):
    """Inputs (batch, length): a random string of the embedded Reber grammar, as tokens B T S X P V E from 0 to 6.
    Targets, at every step but the last: the set of symbols that may come next, as a class; 0 to 7 are the sets PT, B,
    SX, TV, PV, E, T, P.

    All strings of a length are equally likely. Chance is exact: the mean over the steps of the most frequent class,
    from the distribution of the grammar's state at each step.

    Only one answer per string needs a long memory, so accuracy is close to 1 without it. The papers require strings
    without any mistake; here the task counts as solved with at most one mistake in ten strings of the longest test
    length.

    Args:
        length: see `DrawnTask`; at least 9.

    Example:
        >>> task = Reber(length=9)
        >>> task.solve(torch.tensor([[0, 1, 0, 4, 5, 5, 6, 1, 6]]))  # B T B P V V E T E
        tensor([[   0,    1,    0,    3,    4,    5,    6,    5, -100]])
    """

    input_size = len(SYMBOLS)
    output_size = len(SETS)
    symbols = SETS
    every_step = True
    predicts_next = True
    min_length = 9
    remembered = "the position in the grammar and the symbol to be repeated at the end (odd numbers: P)"

    def __init__(self, length: int | Sequence[int], **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        self.solved_at = 1 - 0.1 / (max(self.lengths.tests) - 1)
        end, nowhere = len(INNER), len(INNER) + 1  # two more states; nothing follows either of them
        table = [[int(arc[1]) for arc in arcs] for arcs in INNER] + 2 * [[nowhere, nowhere]]
        self.automaton = Automaton(torch.tensor(table), (torch.arange(nowhere + 1) == end).unsqueeze(0))
        self.arcs = torch.tensor([[SYMBOLS.index(arc[0]) for arc in arcs] for arcs in INNER])
        """The symbol of each transition, (states, 2)."""
        self.next_state = torch.zeros(end, len(SYMBOLS), dtype=torch.long)
        """The state that each symbol leads to, (states, symbols)."""
        for state, arcs in enumerate(INNER):
            for arc in arcs:
                self.next_state[state, SYMBOLS.index(arc[0])] = int(arc[1])
        self.classes = torch.tensor([SETS.index("".join(sorted(arc[0] for arc in arcs))) for arcs in INNER] + [5])
        """The class of the answer in each state; at the end of the inner string it is E."""
        self.frames = torch.tensor([[SYMBOLS.index(symbol) for symbol in frame] for frame in ("BTBETE", "BPBEPE")])

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        frames = self.frames[torch.randint(0, 2, (size,), generator=generator)]
        inner = self.automaton.draw(torch.zeros(size, dtype=torch.long), length - 6, generator)
        return torch.cat([frames[:, :3], self.arcs[inner], frames[:, 3:]], dim=1)

    def solve(self, inputs: Tensor) -> Tensor:
        targets = torch.full_like(inputs, IGNORED)
        targets[:, 0] = SETS.index("PT")
        targets[:, 1] = SETS.index("B")
        targets[:, 2] = self.classes[0]
        state = torch.zeros_like(inputs[:, 0])
        for step in range(3, inputs.size(1) - 3):
            state = self.next_state[state, inputs[:, step]]
            targets[:, step] = self.classes[state]
        targets[:, -3] = torch.where(inputs[:, 1] == SYMBOLS.index("T"), SETS.index("T"), SETS.index("P"))
        targets[:, -2] = SETS.index("E")
        return targets

    def states(self, inputs: Tensor) -> Tensor:
        """Two numbers for each place, the second one after P: first the states of the inner string (0 and 1, 2 and 3,
        ...), then the three symbols after it, then the first two symbols. The very first symbol has one number,
        because there is nothing to repeat yet."""
        end = len(INNER)
        places = torch.zeros_like(inputs)
        places[:, 0], places[:, 1] = end + 4, end + 5
        for step in range(3, inputs.size(1) - 3):
            places[:, step] = self.next_state[places[:, step - 1], inputs[:, step]]
        places[:, -3:] = torch.arange(end + 1, end + 4)
        after_p = (inputs[:, 1:2] == SYMBOLS.index("P")) & (torch.arange(inputs.size(1)) > 0)
        return 2 * places + after_p

    def chance_at(self, length: int) -> float:
        state = torch.zeros(len(self.automaton.table), dtype=torch.float64)
        state[0] = right = 1.0  # the start of the inner string
        for remaining in range(length - 6, 0, -1):
            first = self.automaton.first(remaining)[0] * state
            shares = torch.stack([first, state - first], dim=1)
            state = torch.zeros_like(state).index_add_(0, self.automaton.table.flatten(), shares.flatten())
            right += torch.zeros_like(state).index_add_(0, self.classes, state[: len(self.classes)]).max().item()
        return (right + 3.5) / (length - 1)  # the symbols around the inner string; the last but one is T or P
