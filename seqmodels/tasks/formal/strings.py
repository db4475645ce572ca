"""Strings rearranged: reverse, duplicate, odds first, sort; and the symbol missing from a duplicate.

Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023. Reversal needs a stack (context-free),
the others a tape (context-sensitive).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.formal.formal_task import FormalTask, Transduction
from seqmodels.tasks.task import check_whole


class Rearrangement(Transduction):
    """Inputs: `length` random symbols from 0 to `symbols` - 1, then an empty token (`symbols`) for each position of the
    answer, which is the same symbols in another order. Targets: the answer, at the empty tokens alone.

    Where each position of the answer repeats one of the input, a guess is right 1 in `symbols` times.

    Args:
        length: how many symbols there are; see `DrawnTask`, and there for `lengths`.
        symbols: how many different ones.
    """

    def __init__(
        self,
        length: int | Sequence[int],
        symbols: int = 2,
        **lengths: Unpack[Lengths],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("symbols", symbols, 2)
        self.symbols = self.output_size = symbols
        self.input_size = symbols + 1

    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, self.symbols, (size, length), generator=generator)

    @abstractmethod
    def answer(self, words: Tensor) -> Tensor: ...

    def chance_at(self, length: int) -> float:
        return 1 / self.symbols


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
    """The first, third, fifth ... symbol, then the second, fourth ... Inputs, targets, arguments: see `Rearrangement`.

    The order is that of the paper; its published code gives the second, fourth ... symbol first.

    Example:
        >>> OddsFirst(length=4).solve(torch.tensor([[0, 1, 0, 1, 2, 2, 2, 2]]))
        tensor([[-100, -100, -100, -100,    0,    0,    1,    1]])
    """

    def answer(self, words: Tensor) -> Tensor:
        return torch.cat([words[:, ::2], words[:, 1::2]], dim=1)


class BucketSort(Rearrangement):
    """The symbols in order. Inputs, targets and arguments: see `Rearrangement`.

    The symbol at place i (from 0) is at most c if more than i symbols are, so the chance of each symbol at each place
    is a difference of two binomial tails; the guess line is the mean, over the places, of the most likely symbol's.

    Example:
        >>> BucketSort(length=4, symbols=5).solve(torch.tensor([[4, 0, 2, 0, 5, 5, 5, 5]]))
        tensor([[-100, -100, -100, -100,    0,    0,    2,    4]])
    """

    def answer(self, words: Tensor) -> Tensor:
        return words.sort(dim=1).values

    def chance_at(self, length: int) -> float:
        counts = torch.arange(length + 1, dtype=torch.float64)
        at_most = [torch.zeros(length, dtype=torch.float64)]  # for each symbol, from none on, the chance at each place
        for symbol in range(1, self.symbols):
            share = torch.tensor(symbol / self.symbols, dtype=torch.float64)
            exactly = torch.distributions.Binomial(length, share).log_prob(counts).exp()
            at_most.append(exactly.flip(0).cumsum(0).flip(0)[1:])
        at_most.append(torch.ones(length, dtype=torch.float64))
        return torch.stack(at_most).diff(dim=0).amax(dim=0).mean().item()


class MissingDuplicate(FormalTask):
    """Inputs (batch, length): a random binary string, twice, with one of the symbols replaced by a blank (2).
    Target: the symbol under the blank, which a guess gets right half of the time.

    Args:
        length: see `DrawnTask`, and there for `lengths`; both copies together, so an odd length is made shorter
            by one (the paper's code pads it instead), and the least is 2.

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
        return inputs.sum(dim=1) % 2  # all other symbols are there twice, and the blank counts 2

    def chance_at(self, length: int) -> float:
        return 0.5
