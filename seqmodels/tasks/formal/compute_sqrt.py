"""Integer square roots of binary numbers of any length.

A context-sensitive task of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.formal.formal_task import Transduction

LIMB = 30
"""Bits of a long number that are subtracted at once; even, so that each pair of bits lies in one of them."""


class ComputeSqrt(Transduction):
    """Inputs (batch, length + answer length): the random bits of a number x, highest first, then an empty token (2) for
    each of the ceil(length / 2) bits of the answer. Targets, at these: floor(sqrt(x)), highest bit first.

    All x below 2^length are equally likely. (The paper draws no 0.) Those whose root has a one at place j, from the
    lowest, are the x from (m 2^j)^2 to just before ((m + 1) 2^j)^2, for all odd m; counting them gives the chance of
    each bit, and so the guess line, exactly: 3/4 for the highest bit of an even length, near 1/2 for low ones.

    Args:
        length: see `DrawnTask`, and there for `lengths`; of the number.

    Example:
        >>> task = ComputeSqrt(length=6)
        >>> task.solve(torch.tensor([[1, 0, 0, 1, 0, 1, 2, 2, 2]]))[:, 6:]  # floor(sqrt(37)) is 6
        tensor([[1, 1, 0]])
    """

    input_size = 3
    output_size = 2

    def answer_length(self, length: int) -> int:
        return (length + 1) // 2

    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (size, length), generator=generator)

    def answer(self, words: Tensor) -> Tensor:
        length = words.size(1)
        if length > 52:  # more than a double holds
            return long_roots(words)
        numbers = (words << torch.arange(length - 1, -1, -1)).sum(dim=1, keepdim=True)
        return numbers.double().sqrt().long() >> torch.arange(self.answer_length(length) - 1, -1, -1) & 1

    def chance_at(self, length: int) -> float:
        count, root, most = 2**length, math.isqrt(2**length), 0.0
        for place in range(self.answer_length(length)):
            pairs = root >> place + 1  # of an even m and an odd one, all of whose x are below 2^length
            ones = 4**place * pairs * (2 * pairs + 1) + max(0, count - ((2 * pairs + 1) << place) ** 2)
            most += max(ones, count - ones) / count
        return most / self.answer_length(length)


def long_roots(bits: Tensor) -> Tensor:
    """The same for numbers of any length, by the method that is taught for pen and paper, one bit after another.

    With the root so far, r, at places above j, the bit at j is one if what remains of the number can bear
    (r + 2^j)^2 - r^2 = r 2^(j+1) + 2^(2j). Long numbers are rows of limbs (batch, limbs), the lowest first.
    """
    length = bits.size(1)
    remainder = F.pad(bits.flip(1), (0, -length % LIMB)).unflatten(1, (-1, LIMB))
    remainder = (remainder << torch.arange(LIMB)).sum(dim=2)
    limbs = torch.arange(remainder.size(1))
    scaled_root = torch.zeros_like(remainder)  # r 2^(j+1)
    root = []
    for place in range((length + 1) // 2 - 1, -1, -1):
        limb, offset = divmod(2 * place, LIMB)
        trial = scaled_root.clone()
        trial[:, limb] += 1 << offset
        difference = remainder - trial
        # A limb borrows if the highest limb up to it that is not zero is negative.
        highest = limbs.masked_fill(difference == 0, 0).cummax(dim=1).values
        borrows = (difference.gather(1, highest) < 0).long()
        fits = 1 - borrows[:, -1:]
        difference += (borrows << LIMB) - F.pad(borrows, (1, -1))
        remainder = torch.where(fits == 1, difference, remainder)
        scaled_root = (scaled_root >> 1) | (F.pad(scaled_root, (-1, 1)) & 1) << LIMB - 1
        scaled_root[:, limb] += fits.squeeze(1) << offset
        root.append(fits)
    return torch.cat(root, dim=1)
