"""Strings rearranged: reverse, duplicate, odds first, sort; and the symbol missing from a duplicate.

Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023. Reversal needs a stack (context-free),
the others a tape (context-sensitive).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.formal.formal_task import FormalTask, Transduction
from seqmodels.tasks.lengths import LengthSettings


class Rearrangement(Transduction):
    """Inputs: `length` random symbols from 0 to `symbols` - 1, then an empty token (`symbols`) for each position of the
    answer, which is the same symbols in another order. Targets: the answer, at the empty tokens alone.

    Where each position of the answer repeats one of the input, chance is 1 / `symbols`.

    Args:
        length: the number of symbols; see `DrawnTask`.
        symbols: the size of the alphabet.
    """

    def __init__(self, length: int | Sequence[int], symbols: int = 2, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("symbols", symbols, 2)
        self.output_size = symbols
        self.input_size = symbols + 1

    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, self.output_size, (size, length), generator=generator)

    @abstractmethod
    def answer(self, words: Tensor) -> Tensor: ...

    def chance_at(self, length: int) -> float:
        return 1 / self.output_size


class Reverse(Rearrangement):
    """The string from its end to its start. Inputs, targets and arguments: see `Rearrangement`.

    Example:
        >>> Reverse(length=3).solve(torch.tensor([[0, 1, 1, 2, 2, 2]]))
        tensor([[-100, -100, -100,    1,    1,    0]])
    """

    def answer(self, words: Tensor) -> Tensor:
        return words.flip(1)


class Duplicate(Rearrangement):
    """The string twice, so 2 * length empty tokens. Inputs, targets and arguments: see `Rearrangement`.

    Example:
        >>> Duplicate(length=2).solve(torch.tensor([[0, 1, 2, 2, 2, 2]]))
        tensor([[-100, -100,    0,    1,    0,    1]])
    """

    def answer_length(self, length: int) -> int:
        return 2 * length

    def answer(self, words: Tensor) -> Tensor:
        return words.repeat(1, 2)


class OddsFirst(Rearrangement):
    """The first, third, fifth, ... symbol, then the second, fourth, ... Inputs, targets and arguments: see
    `Rearrangement`.

    The order is that of the paper; its published code has the second, fourth, ... symbol first.

    Example:
        >>> OddsFirst(length=4).solve(torch.tensor([[0, 1, 0, 1, 2, 2, 2, 2]]))
        tensor([[-100, -100, -100, -100,    0,    0,    1,    1]])
    """

    def answer(self, words: Tensor) -> Tensor:
        return torch.cat([words[:, ::2], words[:, 1::2]], dim=1)


class BucketSort(Rearrangement):
    """The symbols in order. Inputs, targets and arguments: see `Rearrangement`.

    The symbol at place i (from 0) is at most c if more than i symbols are, so the probability of each symbol at each
    place is a difference of two binomial tails. Chance is the mean of the largest one over the places.

    Example:
        >>> BucketSort(length=4, symbols=5).solve(torch.tensor([[4, 0, 2, 0, 5, 5, 5, 5]]))
        tensor([[-100, -100, -100, -100,    0,    0,    2,    4]])
    """

    def answer(self, words: Tensor) -> Tensor:
        return words.sort(dim=1).values

    def chance_at(self, length: int) -> float:
        counts = torch.arange(length + 1, dtype=torch.float64)
        at_most = [
            torch.zeros(length, dtype=torch.float64)
        ]  # for each symbol, the probability of a lower one at each place
        for symbol in range(1, self.output_size):
            share = torch.tensor(symbol / self.output_size, dtype=torch.float64)
            exactly = torch.distributions.Binomial(length, share).log_prob(counts).exp()
            at_most.append(exactly.flip(0).cumsum(0).flip(0)[1:])
        at_most.append(torch.ones(length, dtype=torch.float64))
        return torch.stack(at_most).diff(dim=0).amax(dim=0).mean().item()


class MissingDuplicate(FormalTask):
    """Inputs (batch, length): a random binary string, twice, with one of the symbols replaced by a blank (2).
    Target: the symbol under the blank.

    Chance is 1/2.

    Args:
        length: see `DrawnTask`; both copies together, so an odd length is rounded down (the paper's code pads it
            instead), and the least is 2.

    Example:
        >>> MissingDuplicate(length=6).solve(torch.tensor([[0, 1, 1, 0, 2, 1], [2, 1, 1, 0, 1, 1]]))
        tensor([1, 0])
    """

    input_size = 3
    output_size = 2
    min_length = 2

    def fitting(self, length: int) -> int:
        return length - length % 2

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        string = torch.randint(0, 2, (size, length // 2), generator=generator)
        blank = torch.randint(0, 2 * string.size(1), (size, 1), generator=generator)
        return torch.cat([string, string], dim=1).scatter_(1, blank, 2)

    def solve(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=1) % 2  # every other symbol occurs in both copies, and the blank counts as 2

    def chance_at(self, length: int) -> float:
        return 0.5
