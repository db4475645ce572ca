"""Integer square roots of binary numbers of any length.

A context-sensitive task of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
"""

import math

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.formal.formal_task import Transduction


class ComputeSqrt(Transduction):
    """Inputs (batch, length + answer length): the random bits of a number x, highest first, then an empty token (2) for
    each of the ceil(length / 2) bits of the answer. Targets, at these: floor(sqrt(x)), highest bit first.

    All x below 2^length are equally likely. (The paper draws no 0.) The x whose root has a one at place j, from the
    lowest, lie from (m 2^j)^2 to just below ((m + 1) 2^j)^2, for all odd m. Counting them yields the probability of
    each bit, and so chance, exactly: 3/4 for the highest bit of an even length, near 1/2 for low ones.

    Args:
        length: see `DrawnTask`; of the number.

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
        width = self.answer_length(words.size(1))
        numbers = [int("".join(map(str, word)), 2) for word in words.tolist()]
        roots = [[int(bit) for bit in f"{math.isqrt(number):0{width}b}"] for number in numbers]
        return torch.from_numpy(np.array(roots))  # NumPy converts lists faster than torch

    def chance_at(self, length: int) -> float:
        count, root, most = 2**length, math.isqrt(2**length), 0.0
        for place in range(self.answer_length(length)):
            pairs = root >> place + 1  # of an even m and an odd one, all of whose x are below 2^length
            ones = 4**place * pairs * (2 * pairs + 1) + max(0, count - ((2 * pairs + 1) << place) ** 2)
            most += max(ones, count - ones) / count
        return most / self.answer_length(length)
