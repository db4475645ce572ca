"""Automata with two ways on from each state, and random walks through them."""

import torch
from torch import Tensor


class Automaton:
    """An automaton whose states each have a first and a second way on.

    Args:
        table: the states (states, 2) that the two ways lead to.
        accepted: for each kind of walk, whether it may end in a state, (kinds, states).
    """

    def __init__(self, table: Tensor, accepted: Tensor) -> None:
        self.table = table
        self._walks = accepted.double()  # walks of the length reached below, from each state, relative to the most
        self._first: list[Tensor] = []  # by the length that remains

    def first(self, remaining: int) -> Tensor:
        """The share, (kinds, states), of the accepted walks of `remaining` >= 1 steps that begin by the first way."""
        while len(self._first) < remaining:
            onwards = self._walks[:, self.table]
            walks = onwards.sum(dim=2)
            self._first.append(onwards[:, :, 0] / walks.clamp(min=torch.finfo(walks.dtype).tiny))
            self._walks = walks / walks.amax(dim=1, keepdim=True)
        return self._first[remaining - 1]

    def draw(self, kinds: Tensor, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random walks of `kinds` (batch,) from state 0: the states left and the ways taken, both (batch, length).

        All accepted walks of that kind and length are equally likely: each step takes a way with the
        probability that it has among the walks that remain.
        """
        lots = torch.rand(length, len(kinds), generator=generator, dtype=torch.float64)
        state, states, ways = torch.zeros_like(kinds), [], []
        for step in range(length):
            way = (lots[step] >= self.first(length - step)[kinds, state]).long()
            states.append(state)
            ways.append(way)
            state = self.table[state, way]
        return torch.stack(states, dim=1), torch.stack(ways, dim=1)

    def end(self, ways: Tensor) -> Tensor:
        """The states (batch,) reached from state 0 by any `ways` (batch, length)."""
        state = torch.zeros_like(ways[:, 0])
        for way in ways.unbind(1):
            state = self.table[state, way]
        return state
