"""Stack manipulation: what is left on a stack after pushing and popping?

A context-free task of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
"""

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.formal.formal_task import Transduction, ended

POP, PUSH, EMPTY = 2, 3, 5
END = 2
BITS = np.array([0, 1, 0, 0, 1])
"""What each symbol puts on the stack; a pop, nothing that counts."""
STEPS = np.array([1, 1, -1, 1, 1])
"""How much higher that makes it, where it is not empty."""


class StackManipulation(Transduction):
    """Inputs (batch, 2 * length + 1): a stack of random bits, bottom first; random actions POP (2), PUSH 0 (3) and
    PUSH 1 (4), `length` symbols together; then `length` + 1 empty tokens (5). Targets, at the empty tokens: the bits
    left, top first, then the end (2), after which nothing is scored. To pop from the empty stack does nothing.

    The stack has 1 to `length` - 1 bits, each equally likely. (The paper's loss, though not its accuracy, also counts
    zeros that pad the answers to equal length.)

    Bits are uniform and independent of how many are left, so the best blind answer at place i is a bit or the end,
    whichever of P(more than i left) / 2 and P(exactly i left) is larger. The guess line carries the distribution of
    the height over the input, and is exact.

    Args:
        length: see `DrawnTask`, and there for `lengths`; of stack and actions together, at least 2.

    Example:
        >>> task = StackManipulation(length=5)
        >>> task.solve(torch.tensor([[1, 0, 0, 2, 4] + [5] * 6, [1, 2, 2, 3, 2] + [5] * 6]))[:, 5:]
        tensor([[   1,    0,    1,    2, -100, -100],
                [   2, -100, -100, -100, -100, -100]])
    """

    input_size = 6
    output_size = 3
    min_length = 2

    def answer_length(self, length: int) -> int:
        return length + 1

    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        bits = torch.randint(0, 2, (size, length), generator=generator)
        actions = torch.randint(POP, EMPTY, (size, length), generator=generator)
        heights = torch.randint(1, length, (size, 1), generator=generator)
        return torch.where(torch.arange(length) < heights, bits, actions)

    def answer(self, words: Tensor) -> Tensor:
        # There are many small steps, and NumPy takes less time for each than torch does.
        symbols = words.numpy()
        walk = STEPS.take(symbols).cumsum(axis=1)
        heights = walk - np.minimum(np.minimum.accumulate(walk, axis=1), 0)
        # A bit stays if the stack is never again lower than it is with that bit on top.
        lowest_later = np.minimum.accumulate(heights[:, ::-1], axis=1)[:, ::-1]
        stays = ((heights == lowest_later) & (symbols != POP)).ravel().nonzero()[0]
        left = heights[:, -1]
        answers = np.zeros((len(words), words.size(1) + 1), dtype=np.int64)
        answers[stays // words.size(1), (left[:, None] - heights).take(stays)] = BITS.take(symbols.take(stays))
        return ended(answers, left, END)

    def chance_at(self, length: int) -> float:
        heights = torch.zeros(length + 1, dtype=torch.float64)  # probabilities, of those whose actions have begun
        for symbols in range(1, length + 1):
            after = torch.zeros_like(heights)
            after[1:] += heights[:-1] * 2 / 3
            after[:-1] += heights[1:] / 3
            after[0] += heights[0] / 3
            if symbols < length:
                after[symbols] += 1 / (length - 1)
            heights = after
        at_least = heights.flip(0).cumsum(0).flip(0)
        return (torch.maximum((at_least - heights) / 2, heights).sum() / at_least.sum()).item()
