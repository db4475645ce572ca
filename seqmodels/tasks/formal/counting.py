"""a^n b^n and a^n b^n c^n: is this string in the language? It takes one counter, or two.

Felix Gers and Juergen Schmidhuber, "LSTM Recurrent Networks Learn Simple Context Free and Context Sensitive
Languages", IEEE Transactions on Neural Networks 12(6), 2001, predict the next symbol of strings of the language alone.
There is one such string of each length, so where all strings of a batch have one length its symbols follow from their
places, and a guess would be right everywhere. Strings are therefore to be recognised among others like them, as Gail
Weiss, Yoav Goldberg and Eran Yahav do, "On the Practical Computational Power of Finite Precision RNNs for Language
Recognition", ACL 2018. At a length of training, validation meets the same string again; a longer test does not.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.formal.formal_task import FormalTask


class AnBn(FormalTask):
    """Inputs (batch, length): strings of the letters a (0) and b (1); target: 1 for a^n b^n, else 0.

    Each string is, independently, a^n b^n with probability 1/2; with 1/4 one whose letters are in order, but 1 to n
    of a kind are replaced by as many of the other; with 1/4 one of n letters a and n letters b in which an a and
    a b have changed places. A guess is right half of the time.

    Args:
        length: see `DrawnTask`, and there for `lengths`; an odd length is made shorter by one, at least 2.

    Example:
        >>> AnBn(length=4).solve(torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 0, 1]]))
        tensor([1, 0, 0])
    """

    input_size = 2  # so many letters
    output_size = 2
    min_length = 2

    def __init__(self, length: int | Sequence[int], **lengths: Unpack[Lengths]) -> None:
        super().__init__(length, **lengths)
        letters = range(self.input_size)
        pairs = list(permutations(letters, 2))
        self.pairs = torch.tensor(pairs)
        self.changes = self.pairs.flip(1) - self.pairs  # from each letter to the other
        # One letter less and one of the other more: how each block but the last then moves its end.
        self.moves = torch.tensor([[(other <= end) - (one <= end) for end in letters[:-1]] for one, other in pairs])

    def fitting(self, length: int) -> int:
        return length - length % self.input_size

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        letters = self.input_size
        block = length // letters
        kinds = torch.randint(0, 4, (size, 1), generator=generator)
        pairs = torch.randint(0, len(self.pairs), (size,), generator=generator)

        replaced = torch.randint(1, block + 1, (size, 1), generator=generator) * (kinds == 2)
        ends = torch.arange(block, block * letters, block) + replaced * self.moves[pairs]
        inputs = (torch.arange(block * letters) >= ends.unsqueeze(2)).sum(dim=1)

        places = self.pairs[pairs] * block + torch.randint(0, block, (size, 2), generator=generator)
        return inputs.scatter_add_(1, places, self.changes[pairs] * (kinds == 3))

    def solve(self, inputs: Tensor) -> Tensor:
        length = inputs.size(1)
        if length % self.input_size:
            return torch.zeros_like(inputs[:, 0])
        right = torch.arange(length) // (length // self.input_size)
        return (inputs == right).all(dim=1).long()

    def chance_at(self, length: int) -> float:
        return 0.5


class AnBnCn(AnBn):
    """Inputs (batch, length): strings of the letters a (0), b (1) and c (2); target: 1 for a^n b^n c^n, else 0.

    Others are made as in `AnBn`, from two of the three letters: the third one's count and places are always right.

    Args:
        length: see `DrawnTask`, and there for `lengths`; made shorter to a multiple of 3, at least 3.

    Example:
        >>> AnBnCn(length=6).solve(torch.tensor([[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2], [0, 2, 1, 1, 0, 2]]))
        tensor([1, 0, 0])
    """

    input_size = 3
    min_length = 3
