"""Addition and multiplication of binary numbers of any length.

Context-sensitive tasks of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.formal.formal_task import Transduction, ended

SEPARATOR = 2
END = 2


class BinaryArithmetic(Transduction):
    """Inputs (batch, 2 * length): two random numbers, lowest bit first, with a separator (2) between them, `length`
    symbols together; then `length` empty tokens (3). Targets, at the empty tokens: the result, lowest bit first and
    without leading zeros (0 itself is one 0), then the end (2), after which nothing is scored.

    The separator is anywhere but at the ends, each place equally likely, and all bits are uniform, so a number may
    begin with zeros or be zero. (The paper draws no zeros, and its addition has one more empty token, never scored.)

    Args:
        length: see `DrawnTask`; of both numbers and the separator, at least 3.
    """

    input_size = 4
    output_size = 3
    min_length = 3

    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        words = torch.randint(0, 2, (size, length), generator=generator)
        return words.scatter_(1, torch.randint(1, length - 1, (size, 1), generator=generator), SEPARATOR)

    def numbers(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Both numbers, each (batch, length), lowest bit first, padded with zeros."""
        places = torch.arange(words.size(1))
        middle = (words == SEPARATOR).int().argmax(dim=1, keepdim=True)
        second = F.pad(words, (0, words.size(1))).gather(1, middle + 1 + places)
        return words * (places < middle), second

    def written(self, columns: Tensor) -> Tensor:
        """Numbers (batch, length), given by the sum at each place, as bits without leading zeros and with the end."""
        carry, places = torch.zeros_like(columns[:, 0]), []
        for column in columns.unbind(1):
            total = column + carry
            places.append(total % 2)
            carry = total // 2
        bits = torch.stack(places, dim=1)
        digits = (bits * torch.arange(1, bits.size(1) + 1)).amax(dim=1, keepdim=True)
        return ended(bits, digits.clamp(min=1), END)


class BinaryAddition(BinaryArithmetic):
    """The sum. Inputs, targets and arguments: see `BinaryArithmetic`.

    Chance is exact. At each place the sum of two uniform numbers of p <= q bits has a one, a zero or its end with known
    probabilities: place i has a uniform bit if i < q, and beyond that the sum is at least 2^i only if i = q, with
    probability (2^p - 1) / 2^(q + 1). They are averaged over all p + q = length - 1.

    Example:
        >>> task = BinaryAddition(length=6)
        >>> task.solve(torch.tensor([[1, 1, 2, 0, 1, 1] + [3] * 6, [0, 0, 2, 1, 0, 0] + [3] * 6]))[:, 6:]  # 3+6; 0+1
        tensor([[   1,    0,    0,    1,    2, -100],
                [   1,    2, -100, -100, -100, -100]])
    """

    def answer(self, words: Tensor) -> Tensor:
        first, second = self.numbers(words)
        return self.written(first + second)

    def chance_at(self, length: int) -> float:
        place = torch.arange(length, dtype=torch.float64).unsqueeze(1)
        first = torch.arange(1, length - 1, dtype=torch.float64)
        small, large = torch.minimum(first, length - 1 - first), torch.maximum(first, length - 1 - first)
        below = torch.where(  # the probability of a sum below 2^place, for places up to the larger number's length
            place < small,
            2 ** (2 * place - small - large - 1) + 2 ** (place - small - large - 1),
            2 ** (place - large) - 2 ** (small - large - 1) + 2 ** (-large - 1),
        )
        ones = torch.where(place < large, 0.5, torch.where(place == large, 1 - below, 0)).mean(dim=1)
        bits = torch.where(place <= large, 1 - below, 0).mean(dim=1)
        bits[0] = 1.0  # 0 too is written with one bit
        scored = F.pad(bits, (1, -1), value=1.0)  # every bit is followed by a bit or the end
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
        first, second = self.numbers(words)
        # The sum at each place is the convolution of both numbers; single precision is exact up to 2^24.
        padded = F.pad(second, (second.size(1) - 1, 0)).float().unsqueeze(0)
        columns = F.conv1d(padded, first.flip(1).float().unsqueeze(1), groups=len(first))
        return self.written(columns[0].long())
