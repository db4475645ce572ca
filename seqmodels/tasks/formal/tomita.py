"""The seven Tomita grammars: is this string in the language?

Masaru Tomita, "Dynamic Construction of Finite Automata from Examples Using Hill-Climbing", Proceedings of the Fourth
Annual Conference of the Cognitive Science Society, 1982.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.formal.automata import Automaton
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.task import check_whole

GRAMMARS: dict[int, tuple[list[tuple[int, int]], set[int]]] = {
    1: ([(1, 0), (1, 1)], {0}),
    2: ([(2, 1), (0, 2), (2, 2)], {0}),
    3: ([(0, 1), (2, 0), (3, 4), (2, 3), (4, 4)], {0, 1, 3}),
    4: ([(1, 0), (2, 0), (3, 0), (3, 3)], {0, 1, 2}),
    5: ([(1, 2), (0, 3), (3, 0), (2, 1)], {0}),
    6: ([(1, 2), (2, 0), (0, 1)], {0}),
    7: ([(0, 1), (2, 1), (2, 3), (4, 3), (4, 4)], {0, 1, 2, 3}),
}
"""The smallest automata: for each state, from the start on, the next one after 0 and after 1; then those accepted."""


class Tomita(FormalTask):
    """Inputs (batch, length): bits as tokens; target: 1 if the string is in the language, else 0.

        1   no 0
        2   10 repeated
        3   no odd run of zeros anywhere after an odd run of ones
        4   no 000
        5   an even number of zeros and an even number of ones
        6   the number of zeros minus that of ones is a multiple of 3
        7   0*1*0*1*

    Each string is, independently, one of the language with probability 1/2; with 1/4 a near miss, that is one outside
    of the language which a change of one bit would bring into it; and with 1/4 any outside of it. In each of the
    three cases all strings of that length are equally likely. A guess is right half of the time, at any length.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least 4, from where on all grammars have strings of
            each kind. Grammars 2 and 5 have no string of odd length, so that is made shorter by one.
        grammar: 1 to 7.

    Example:
        >>> Tomita(length=6, grammar=4).solve(torch.tensor([[1, 0, 0, 1, 0, 0], [0, 1, 0, 0, 0, 1]]))
        tensor([1, 0])
    """

    input_size = 2
    output_size = 2
    min_length = 4

    def __init__(
        self,
        length: int | Sequence[int],
        grammar: int = 4,
        **lengths: Unpack[Lengths],
    ) -> None:
        check_whole("grammar", grammar, 1)
        if grammar not in GRAMMARS:
            raise ValueError(f"grammar should be a whole number from 1 to {len(GRAMMARS)}, got {grammar}")
        self.grammar = grammar
        super().__init__(length, **lengths)
        steps, words = GRAMMARS[grammar]
        self.accepted = torch.tensor([int(state in words) for state in range(len(steps))])
        self.reader = Automaton(torch.tensor(steps), self.accepted)

        # What is read, and all that might have been with one bit changed; an automaton for each of the three kinds.
        states: list[tuple[int, frozenset[int]]] = [(0, frozenset())]
        table: list[list[int]] = []
        for state, changed in states:  # grows on the way
            table.append([])
            for bit in (0, 1):
                onwards = steps[state][bit], frozenset({steps[state][1 - bit], *(steps[one][bit] for one in changed)})
                if onwards not in states:
                    states.append(onwards)
                table[-1].append(states.index(onwards))
        outside = [state not in words for state, _ in states]
        near = [state not in words and bool(changed & words) for state, changed in states]
        accepted = torch.tensor([[not out for out in outside], near, outside])
        copies = torch.arange(3) * len(states)
        self.writer = Automaton((copies.view(3, 1, 1) + torch.tensor(table)).flatten(0, 1), accepted.flatten())
        self.starts = copies[[0, 0, 1, 2]]

    def fitting(self, length: int) -> int:
        return length - length % 2 if self.grammar in (2, 5) else length

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        length = self.fitting(length)
        kinds = torch.randint(0, 4, (size,), generator=generator)
        return (self.writer.draw(self.starts.take(kinds), length, generator) & 1).contiguous()

    def solve(self, inputs: Tensor) -> Tensor:
        return self.accepted.take(self.reader.end(inputs))

    def chance_at(self, length: int) -> float:
        return 0.5
