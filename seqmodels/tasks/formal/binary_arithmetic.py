"""Addition and multiplication of binary numbers of any length.

Context-sensitive tasks of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.formal.formal_task import Transduction, ended

SEPARATOR, EMPTY = 2, 3
END = 2
WORD = 24
"""Bits that are multiplied at once: a sum of 2^15 products of two such words fits into 63 bits."""


class BinaryArithmetic(Transduction):
    """Inputs (batch, 2 * length): two random numbers, lowest bit first, with a separator (2) between them, `length`
    symbols together; then `length` empty tokens (3). Targets, at the empty tokens: the result, lowest bit first and
    without leading zeros (0 itself is one 0), then the end (2), after which nothing is scored.

    The separator is anywhere but at the ends, each place equally likely, and all bits are uniform, so a number may
    begin with zeros or be zero. (The paper draws no zeros, and its addition has an empty token more, never scored.)

    Args:
        length: see `DrawnTask`, and there for `lengths`; of both numbers and the separator, at least 3.
    """

    input_size = 4
    output_size = 3
    min_length = 3

    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        words = torch.randint(0, 2, (size, length), generator=generator)
        return words.scatter_(1, torch.randint(1, length - 1, (size, 1), generator=generator), SEPARATOR)

    def numbers(self, words: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Both numbers (batch, length), lowest bit first, with zeros above.

        There are many small steps, here and in what follows, and NumPy takes less time for each than torch does.
        """
        symbols = words.numpy()
        size, length = symbols.shape
        places = np.arange(length)
        middle = symbols.argmax(axis=1)[:, None]  # the separator is the largest symbol
        above = np.zeros((size, 2 * length), dtype=np.int64)
        above[:, :length] = symbols
        second = above.take(places + middle + np.arange(1, above.size, 2 * length)[:, None])
        return symbols * (places < middle), second

    def written(self, bits: np.ndarray) -> Tensor:
        """Numbers (batch, length) without the zeros above, and with the end token."""
        digits = (bits * np.arange(1, bits.shape[1] + 1)).max(axis=1)
        return ended(bits, np.maximum(digits, 1), END)


class BinaryAddition(BinaryArithmetic):
    """The sum. Inputs, targets and arguments: see `BinaryArithmetic`.

    Guess line: at each place the sum of two uniform numbers of p <= q bits has a one, a zero or its end with
    probabilities that are exact; place i has a uniform bit if i < q, and beyond that the sum is at least 2^i only if
    i = q, with probability (2^p - 1) / 2^(q + 1). They are added up over all p + q = length - 1.

    Example:
        >>> task = BinaryAddition(length=6)
        >>> task.solve(torch.tensor([[1, 1, 2, 0, 1, 1] + [3] * 6, [0, 0, 2, 1, 0, 0] + [3] * 6]))[:, 6:]  # 3+6; 0+1
        tensor([[   1,    0,    0,    1,    2, -100],
                [   1,    2, -100, -100, -100, -100]])
    """

    def answer(self, words: Tensor) -> Tensor:
        first, second = self.numbers(words)
        # The carry out of a place is that of the last place up to it where both bits are equal, if there is one.
        places = np.arange(first.size).reshape(first.shape)
        equal = np.where(first == second, places, places[:, :1])
        carry = (first & second).take(np.maximum.accumulate(equal, axis=1))
        total = first ^ second
        total[:, 1:] ^= carry[:, :-1]
        return self.written(total)

    def chance_at(self, length: int) -> float:
        place = torch.arange(length, dtype=torch.float64).unsqueeze(1)
        first = torch.arange(1, length - 1, dtype=torch.float64)
        small, large = torch.minimum(first, length - 1 - first), torch.maximum(first, length - 1 - first)
        below = torch.where(  # the chance of a sum below 2^place, where that is not above the larger number
            place < small,
            2 ** (2 * place - small - large - 1) + 2 ** (place - small - large - 1),
            2 ** (place - large) - 2 ** (small - large - 1) + 2 ** (-large - 1),
        )
        ones = torch.where(place < large, 0.5, torch.where(place == large, 1 - below, 0)).mean(dim=1)
        bits = torch.where(place <= large, 1 - below, 0).mean(dim=1)
        bits[0] = 1.0  # 0 too is written with one bit
        scored = F.pad(bits, (1, -1), value=1.0)  # a bit or the end follows on every bit
        most = torch.stack([ones, bits - ones, scored - bits]).amax(dim=0)
        return (most.sum() / scored.sum()).item()


class BinaryMultiplication(BinaryArithmetic):
    """The product. Inputs, targets and arguments: see `BinaryArithmetic`.

    Example:
        >>> task = BinaryMultiplication(length=6)
        >>> task.solve(torch.tensor([[1, 1, 2, 0, 1, 1] + [3] * 6, [0, 0, 2, 1, 0, 0] + [3] * 6]))[:, 6:]  # 3*6; 0*1
        tensor([[   0,    1,    0,    0,    1,    2],
                [   0,    2, -100, -100, -100, -100]])
    """

    def answer(self, words: Tensor) -> Tensor:
        length = words.size(1)  # and no product is longer
        shifts = np.arange(WORD)
        bits = np.zeros((2, len(words), -(-length // WORD), WORD), dtype=np.int64)
        bits.reshape(2, len(words), -1)[:, :, :length] = self.numbers(words)
        first, second = (bits << shifts).sum(axis=3)  # numbers in base 2^WORD
        product = np.zeros_like(first)
        for place in range(product.shape[1]):
            product[:, place:] += first[:, place : place + 1] * second[:, : product.shape[1] - place]
        for place in range(product.shape[1] - 1):
            product[:, place + 1] += product[:, place] >> WORD
        return self.written((product[:, :, None] >> shifts & 1).reshape(len(words), -1)[:, :length])
