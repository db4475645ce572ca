"""Dyck-k: which bracket must close next?

The language of well-nested brackets of k kinds, to which any context-free language can be reduced (Chomsky and
Schützenberger, 1963). As in John Hewitt et al., "RNNs Can Generate Bounded Hierarchical Languages with Optimal
Memory", EMNLP 2020, nesting is bounded, and each answer is the kind of the bracket to close next.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED


class Dyck(FormalTask):
    """Inputs (batch, length): the beginning of a well-nested string; k = `brackets` kinds of opening brackets are the
    tokens 0 to k - 1, and k to 2k - 1 close them. Targets, at every step where a bracket is open: the kind of the
    innermost one, from 0 to k - 1.

    Strings open and close with equal probability, but open where no bracket is open and close where `depth` are. (The
    paper ends strings where all are closed; here, all strings of a batch have one length.) Opening brackets are of each
    kind with equal probability, so chance is 1/k.

    Args:
        length: see `DrawnTask`.
        brackets: the number of kinds of brackets, at least 2.
        depth: the number of brackets that may be open at once.

    Example:
        >>> Dyck(length=6, brackets=2).solve(torch.tensor([[0, 1, 3, 2, 1, 0]]))  # ( [ ] ) [ (
        tensor([[   0,    1,    0, -100,    1,    0]])
    """

    every_step = True
    predicts_next = True
    remembered = "the number of open brackets"

    def __init__(
        self, length: int | Sequence[int], brackets: int = 2, depth: int = 5, **lengths: Unpack[LengthSettings]
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("brackets", brackets, 2)
        check_whole("depth", depth, 1)
        self.brackets = self.output_size = brackets
        self.input_size = 2 * brackets
        self.depth = depth

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        numbers = torch.randint(0, 2 * self.brackets, (size, length), generator=generator)
        # A random walk on all integers, folded at 0 and at `depth`.
        walk = torch.where(numbers < self.brackets, 1, -1).cumsum(dim=1) % (2 * self.depth)
        depths = torch.minimum(walk, 2 * self.depth - walk)
        opens = depths.diff(dim=1, prepend=torch.zeros(size, 1)) > 0
        kinds = numbers % self.brackets
        # A closing bracket is of the kind that was innermost one step before.
        closing = self.brackets + innermost(opens, depths, kinds).roll(1, dims=1)
        return torch.where(opens, kinds, closing)

    def solve(self, inputs: Tensor) -> Tensor:
        return innermost(inputs < self.brackets, self.states(inputs), inputs)

    def states(self, inputs: Tensor) -> Tensor:
        return torch.where(inputs < self.brackets, 1, -1).cumsum(dim=1)

    def chance_at(self, length: int) -> float:
        return 1 / self.brackets


def innermost(opens: Tensor, depths: Tensor, kinds: Tensor) -> Tensor:
    """The kind of the innermost open bracket after each step (batch, time), `IGNORED` where none is open.

    At each depth, it is the bracket that was last opened to that depth.
    """
    steps = torch.arange(opens.size(1))
    found = torch.full_like(kinds, IGNORED)
    for depth in range(1, int(depths.max()) + 1):
        here = depths == depth
        last_opened = torch.where(opens & here, steps, 0).cummax(dim=1).values
        found = torch.where(here, kinds.gather(1, last_opened), found)
    return found
