"""a^n b^n and a^n b^n c^n: is this string in the language? It takes one counter, or two.

Felix Gers and Juergen Schmidhuber, "LSTM Recurrent Networks Learn Simple Context Free and Context Sensitive
Languages", IEEE Transactions on Neural Networks 12(6), 2001, predict the next symbol of strings of the language alone.
There is one such string of each length, so where all strings of a batch have one length its symbols follow from their
places, and chance would be 1. Strings are therefore to be recognised among similar ones, as Gail Weiss, Yoav
Goldberg and Eran Yahav do, "On the Practical Computational Power of Finite Precision RNNs for Language Recognition",
ACL 2018. At a length of training, validation contains the same string again; a longer test does not.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings


class AnBn(FormalTask):
    """Inputs (batch, length): strings of the letters a (0) and b (1); target: 1 for a^n b^n, else 0.

    Each string is, independently, a^n b^n with probability 1/2; with 1/4 a string whose letters are in order, but 1 to
    n of one letter are replaced by as many of the other; with 1/4 a string of n letters a and n letters b in which
    an a and a b have changed places. Chance is 1/2.

    Args:
        length: see `DrawnTask`; rounded down to an even number, at least 2.

    Example:
        >>> AnBn(length=4).solve(torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1]]))
        tensor([1, 0, 0])
    """

    input_size = 2  # the number of letters
    output_size = 2
    min_length = 2
    remembered = "the number of letters a so far, minus the number of letters b"

    def __init__(self, length: int | Sequence[int], **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        self.pairs = torch.tensor(list(permutations(range(self.input_size), 2)))

    def fitting(self, length: int) -> int:
        return length - length % self.input_size

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        letters, block = self.input_size, length // self.input_size
        kinds = torch.randint(0, 4, (size, 1), generator=generator)
        pairs = self.pairs[torch.randint(0, len(self.pairs), (size,), generator=generator)]
        replaced = torch.randint(1, block + 1, (size, 1), generator=generator)
        places = pairs * block + torch.randint(0, block, (size, 2), generator=generator)

        # In order, with fewer of the first letter of the pair and more of the second.
        counts = torch.full((size, letters), block).scatter_add_(1, pairs, replaced * torch.tensor([-1, 1]))
        ends = counts.cumsum(dim=1)[:, :-1]
        miscounted = (torch.arange(block * letters) >= ends.unsqueeze(2)).sum(dim=1)

        right = self.right(block).expand(size, -1)
        swapped = right.scatter(1, places, pairs.flip(1))
        return torch.where(kinds == 2, miscounted, torch.where(kinds == 3, swapped, right))

    def right(self, block: int) -> Tensor:
        """The string of the language with `block` of each letter."""
        return torch.arange(self.input_size).repeat_interleave(block)

    def solve(self, inputs: Tensor) -> Tensor:
        length = inputs.size(1)
        if length % self.input_size:
            return torch.zeros_like(inputs[:, 0])
        return (inputs == self.right(length // self.input_size)).all(dim=1).long()

    def states(self, inputs: Tensor) -> Tensor:
        return ((inputs == 0).long() - (inputs == 1).long()).cumsum(dim=1)

    def chance_at(self, length: int) -> float:
        return 0.5


class AnBnCn(AnBn):
    """Inputs (batch, length): strings of the letters a (0), b (1) and c (2); target: 1 for a^n b^n c^n, else 0.

    The other strings are drawn as in `AnBn`, from two of the three letters: the third one's count and places are always
    right. Chance is 1/2.

    Args:
        length: see `DrawnTask`; rounded down to a multiple of 3, at least 3.

    Example:
        >>> AnBnCn(length=6).solve(torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2], [0, 2, 1, 1, 0, 2]]))
        tensor([1, 0, 0])
    """

    input_size = 3
    min_length = 3
