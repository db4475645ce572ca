"""The seven Tomita grammars: is this string in the language?

Masaru Tomita, "Dynamic Construction of Finite Automata from Examples Using Hill-Climbing", Proceedings of the Fourth
Annual Conference of the Cognitive Science Society, 1982.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.formal.automata import Automaton
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings

GRAMMARS: dict[int, tuple[list[tuple[int, int]], set[int]]] = {
    1: ([(1, 0), (1, 1)], {0}),
    2: ([(2, 1), (0, 2), (2, 2)], {0}),
    3: ([(0, 1), (2, 0), (3, 4), (2, 3), (4, 4)], {0, 1, 3}),
    4: ([(1, 0), (2, 0), (3, 0), (3, 3)], {0, 1, 2}),
    5: ([(1, 2), (0, 3), (3, 0), (2, 1)], {0}),
    6: ([(1, 2), (2, 0), (0, 1)], {0}),
    7: ([(0, 1), (2, 1), (2, 3), (4, 3), (4, 4)], {0, 1, 2, 3}),
}
"""The minimal automata: for each state, beginning with the start, the next state after 0 and after 1; then the accepted
states."""


class Tomita(FormalTask):
    """Inputs (batch, length): bits as tokens; target: 1 if the string is in the language, else 0.

        1   no 0
        2   10 repeated
        3   no odd run of zeros anywhere after an odd run of ones
        4   no 000
        5   an even number of zeros and an even number of ones
        6   the number of zeros minus that of ones is a multiple of 3
        7   0*1*0*1*

    Each string is, independently, in the language with probability 1/2; a near miss with probability 1/4, that is, a
    string outside the language that a change of one bit would bring into it; and any string outside the language with
    probability 1/4. In each of the three cases all strings of that length are equally likely. Chance is 1/2.

    Args:
        length: see `DrawnTask`; at least 4, where all grammars have strings of each kind. Grammars 2 and 5 have no
            strings of odd length, which is therefore rounded down.
        grammar: 1 to 7.

    Example:
        >>> Tomita(length=6, grammar=4).solve(torch.tensor([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1]]))
        tensor([1, 0])
    """

    input_size = 2
    output_size = 2
    min_length = 4
    remembered = "the state of the grammar's minimal automaton"

    def __init__(self, length: int | Sequence[int], grammar: int = 4, **lengths: Unpack[LengthSettings]) -> None:
        check_whole("grammar", grammar, 1)
        if grammar not in GRAMMARS:
            raise ValueError(f"grammar should be a whole number from 1 to {len(GRAMMARS)}, got {grammar}")
        self.grammar = grammar
        super().__init__(length, **lengths)
        table, accepted = GRAMMARS[grammar]
        self.accepted = torch.tensor([int(state in accepted) for state in range(len(table))])
        self.reader = Automaton(torch.tensor(table), self.accepted.unsqueeze(0))

        # The writer follows a string together with all strings that differ from it in one bit: its states are pairs of
        # the string's state and the set of theirs.
        states: list[tuple[int, frozenset[int]]] = [(0, frozenset())]
        following: list[list[int]] = []
        for state, changed in states:  # grows while it is read
            following.append([])
            for bit in (0, 1):
                pair = table[state][bit], frozenset({table[state][1 - bit], *(table[one][bit] for one in changed)})
                if pair not in states:
                    states.append(pair)
                following[-1].append(states.index(pair))
        inside = [state in accepted for state, _ in states]
        near = [state not in accepted and bool(changed & accepted) for state, changed in states]
        outside = [not word for word in inside]
        self.writer = Automaton(torch.tensor(following), torch.tensor([inside, near, outside]))

    def fitting(self, length: int) -> int:
        return length - length % 2 if self.grammar in (2, 5) else length

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        kinds = torch.tensor([0, 0, 1, 2])[torch.randint(0, 4, (size,), generator=generator)]
        return self.writer.draw(kinds, self.fitting(length), generator)[1]

    def solve(self, inputs: Tensor) -> Tensor:
        return self.accepted[self.states(inputs)[:, -1]]

    def states(self, inputs: Tensor) -> Tensor:
        return self.reader.read(inputs)

    def chance_at(self, length: int) -> float:
        return 0.5
