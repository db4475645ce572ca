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

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        # A walk on all integers, folded into 0 ... depth: it turns at both ends.
        steps = 2 * torch.randint(0, 2, (size, length), generator=generator).numpy() - 1
        depths = np.abs((steps.cumsum(axis=1) + self.depth) % (2 * self.depth) - self.depth)
        opens = np.ones_like(depths, dtype=bool)
        opens[:, 1:] = depths[:, 1:] > depths[:, :-1]
        inputs = torch.randint(0, self.brackets, (size, length), generator=generator).numpy()
        closing = self.brackets + innermost(opens, depths, inputs)[:, :-1]
        np.copyto(inputs[:, 1:], closing, where=~opens[:, 1:])
        return torch.from_numpy(inputs)

    def solve(self, inputs: Tensor) -> Tensor:
        opens = inputs.numpy() < self.brackets
        depths = (2 * opens.view(np.int8) - 1).cumsum(axis=1)
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
    found = np.empty_like(order)
    found[order] = kinds.ravel().take(order[openings]).take(openings.cumsum() - 1)
    return found.reshape(kinds.shape)
