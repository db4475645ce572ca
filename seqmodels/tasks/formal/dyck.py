"""Dyck-k: which bracket must close next?

The language of well-nested brackets of k kinds, to which any context-free language can be reduced (Chomsky and
Schützenberger, 1963). As in John Hewitt et al., "RNNs Can Generate Bounded Hierarchical Languages with Optimal
Memory", EMNLP 2020, nesting is bounded, and what is asked at each step is the kind of the bracket to close next.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.task import IGNORED, check_whole


class Dyck(FormalTask):
    """Inputs (batch, length): the beginning of a well-nested string; k = `brackets` kinds of opening brackets are the
    tokens 0 to k - 1, and k to 2k - 1 close them. Targets, at every step where a bracket is open: the kind of the
    innermost one, from 0 to k - 1.

    Strings open and close with equal probability, but open where no bracket is open and close where `depth` are. (The
    paper ends strings where all are closed; here, all strings of a batch have one length.) Each opening bracket is of
    any kind with equal probability, so a guess is right 1 in k times.

    Args:
        length: see `DrawnTask`, and there for `lengths`.
        brackets: how many kinds of brackets there are, at least 2.
        depth: how many may be open at once.

    Example:
        >>> Dyck(length=6, brackets=2).solve(torch.tensor([[0, 1, 3, 2, 1, 0]]))  # ( [ ] ) [ (
        tensor([[   0,    1,    0, -100,    1,    0]])
    """

    every_step = True
    answers_follow = True

    def __init__(
        self,
        length: int | Sequence[int],
        brackets: int = 2,
        depth: int = 5,
        **lengths: Unpack[Lengths],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("brackets", brackets, 2)
        check_whole("depth", depth, 1)
        self.brackets = self.output_size = brackets
        self.input_size = 2 * brackets
        self.depth = depth
        self.kinds = np.tile(np.arange(brackets), 2)
        self.steps = np.repeat([1, -1], brackets)
        """By symbol: its kind, and how much deeper it leads."""
        self.folded = np.concatenate([np.arange(depth), np.arange(depth, 0, -1)])
        """Where a walk on all integers is between 0 and `depth` if it turns there; from 2 * depth on it repeats."""

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        lots = torch.randint(0, 2 * self.brackets, (size, length), generator=generator).numpy()
        kinds = self.kinds.take(lots)
        depths = self.folded.take(self.steps.take(lots).cumsum(axis=1), mode="wrap")
        opens = np.empty(depths.shape, dtype=bool)
        opens[:, 0] = True
        np.greater(depths[:, 1:], depths[:, :-1], out=opens[:, 1:])
        inputs, found = kinds.ravel(), innermost(opens, depths, kinds).ravel()
        closing = np.flatnonzero(~opens)
        inputs[closing] = self.brackets + found.take(closing - 1)
        return torch.from_numpy(inputs).view(size, length)

    def solve(self, inputs: Tensor) -> Tensor:
        opens = inputs.numpy() < self.brackets
        depths = self.steps.take(inputs.numpy()).cumsum(axis=1)
        kinds = innermost(opens, depths, inputs.numpy())
        kinds[depths == 0] = IGNORED
        return torch.from_numpy(kinds)

    def chance_at(self, length: int) -> float:
        return 1 / self.brackets


def innermost(opens: np.ndarray, depths: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """The kind of the innermost open bracket after each step (batch, time); of no meaning at depth 0.

    It is the one that was last opened to the depth there is now. With the steps of all strings in order of depth, then
    of string and time, it is the last opening up to each step; every string comes to a depth by an opening first.
    """
    order = depths.ravel().astype(np.min_scalar_type(depths.shape[1])).argsort(kind="stable")  # a byte or two sort fast
    openings = opens.ravel().take(order)
    opened = kinds.ravel().take(order.take(openings.nonzero()[0]))
    found = np.empty_like(order)
    found[order] = opened.take(openings.cumsum() - 1)
    return found.reshape(kinds.shape)
