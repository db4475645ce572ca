"""Automata with two transitions from each state, and random walks through them."""

import torch
from torch import Tensor


class Automaton:
    """An automaton whose states each have a first and a second transition.

    Args:
        table: the states (states, 2) that the two transitions lead to.
        accepted: for each kind of walk, whether it may end in a state, (kinds, states).
    """

    def __init__(self, table: Tensor, accepted: Tensor) -> None:
        self.table = table
        self._walks = accepted.double()  # walks of the length reached below, from each state, relative to the most
        self._first: list[Tensor] = []  # by the length that remains

    def first(self, remaining: int) -> Tensor:
        """The share (kinds, states) of the first transition in the accepted walks of `remaining` >= 1 steps."""
        while len(self._first) < remaining:
            by_transition = self._walks[:, self.table]
            walks = by_transition.sum(dim=2)
            self._first.append(by_transition[:, :, 0] / walks.clamp(min=torch.finfo(walks.dtype).tiny))
            self._walks = walks / walks.amax(dim=1, keepdim=True)
        return self._first[remaining - 1]

    def draw(self, kinds: Tensor, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random walks of `kinds` (batch,) from state 0: the state before each step, and its transition (0 or 1), both
        (batch, length).

        All accepted walks of that kind and length are equally likely: each step chooses a transition with the
        probability that it has among the walks that remain.
        """
        uniform = torch.rand(length, len(kinds), generator=generator, dtype=torch.float64)
        state, states, transitions = torch.zeros_like(kinds), [], []
        for step in range(length):
            transition = (uniform[step] >= self.first(length - step)[kinds, state]).long()
            states.append(state)
            transitions.append(transition)
            state = self.table[state, transition]
        return torch.stack(states, dim=1), torch.stack(transitions, dim=1)

    def read(self, transitions: Tensor) -> Tensor:
        """The states (batch, length) after each of the `transitions` (batch, length), starting in state 0."""
        state, states = torch.zeros_like(transitions[:, 0]), []
        for transition in transitions.unbind(1):
            state = self.table[state, transition]
            states.append(state)
        return torch.stack(states, dim=1)
