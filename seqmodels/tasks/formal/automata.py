"""Automata with two ways on from each state, and random walks through them.

A walk of a given length that ends where it is accepted is drawn one step after the other; each step knows, for each
state, which share of the walks that remain goes either way. So all accepted walks of that length are equally likely.

The steps are many and small, and NumPy takes less time for each than torch does.
"""

import numpy as np
import torch
from torch import Tensor


class Automaton:
    """`table` (states, 2) says to which state the two ways lead, `accepted` (states,) where a walk may end.

    A step is numbered by the state it starts from, twice, plus the way it goes.
    """

    def __init__(self, table: Tensor, accepted: Tensor) -> None:
        self.table = table
        self._walks = accepted.double()  # of the length reached, from each state; as shares of the most
        self._second: list[Tensor] = []  # by the length that remains: the share that goes the second way
        self._first_after = 2 * table.flatten().numpy()  # by step: the next one, if that goes the first way
        states = torch.arange(len(table))
        self._into = torch.cat([table.flatten(), states])  # the states reached by each step, and by none
        self._bounds: list[np.ndarray] = []

    def second(self, remaining: int) -> Tensor:
        """The share, by state, of the accepted walks of `remaining` >= 1 steps that go the second way first."""
        while len(self._second) < remaining:
            onwards = self._walks[self.table]
            walks = onwards.sum(dim=1)
            self._second.append(onwards[:, 1] / walks.clamp(min=torch.finfo(walks.dtype).tiny))
            self._walks = walks / walks.max()
            self._bounds.append((2 * self._into + self._second[-1][self._into]).numpy())
        return self._second[remaining - 1]

    def draw(self, starts: Tensor, length: int, generator: torch.Generator) -> Tensor:
        """Random accepted walks from the states `starts` (batch,), as steps (batch, length)."""
        lots = torch.rand(length, len(starts), generator=generator, dtype=torch.float64).numpy()
        lots *= 1 - 2**-40  # below 1 also when a step is added
        self.second(length)
        steps = np.empty((length + 1, len(starts)), dtype=np.int64)
        steps[0] = starts.numpy() + len(self._first_after)
        for place, bounds in enumerate(reversed(self._bounds[:length])):
            # The next step if it goes the first way, plus the share of the second way, plus the lot, rounded down.
            steps[place + 1] = bounds.take(steps[place]) + lots[place]
        return torch.from_numpy(steps[1:].T)

    def end(self, ways: Tensor) -> Tensor:
        """The states (batch,) where walks from the first state end, whatever `ways` (batch, length) they go."""
        first = np.zeros(len(ways), dtype=np.int64)
        for way in np.ascontiguousarray(ways.numpy().T):
            first = self._first_after.take(first + way)
        return torch.from_numpy(first // 2)
