"""Automata with two ways on from each state, and random walks through them.

A walk of a given length that ends where it is accepted is drawn one step after the other; each step knows, for each
state, which share of the walks that remain goes either way. So all accepted walks of that length are equally likely.
"""

import torch
from torch import Tensor


class Automaton:
    """`table` (states, 2) says to which state the two ways lead, `accepted` (states,) where a walk may end."""

    def __init__(self, table: Tensor, accepted: Tensor) -> None:
        self.table = table
        self._walks = accepted.double()  # of the length reached, from each state; as shares of the most
        self._second: list[Tensor] = []  # by the length that remains: the share that goes the second way

    def second(self, remaining: int) -> Tensor:
        """The share, by state, of the accepted walks of `remaining` >= 1 steps that go the second way first."""
        while len(self._second) < remaining:
            onwards = self._walks[self.table]
            walks = onwards.sum(dim=1)
            self._second.append(onwards[:, 1] / walks.clamp(min=torch.finfo(walks.dtype).tiny))
            self._walks = walks / walks.max()
        return self._second[remaining - 1]

    def draw(self, starts: Tensor, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random accepted walks from the states `starts` (batch,): before each step the state, and the way then taken,
        0 or 1; both (batch, length)."""
        lots = torch.rand(length, len(starts), generator=generator, dtype=torch.float64)
        states, ways = [starts], []
        for place, lot in enumerate(lots.unbind(0)):
            ways.append((lot < self.second(length - place)[states[-1]]).long())
            states.append(self.table[states[-1], ways[-1]])
        return torch.stack(states[:-1], dim=1), torch.stack(ways, dim=1)
