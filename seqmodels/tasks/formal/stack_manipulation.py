"""Stack manipulation: what is left on a stack after pushing and popping?

A context-free task of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.
"""

import torch
from torch import Tensor

from seqmodels.tasks.formal.formal_task import Transduction, ended

POP, PUSH, EMPTY = 2, 3, 5
END = 2


class StackManipulation(Transduction):
    """Inputs (batch, 2 * length + 1): a stack of random bits, bottom first; random actions POP (2), PUSH 0 (3) and
    PUSH 1 (4), `length` symbols together; then `length` + 1 empty tokens (5). Targets, at the empty tokens: the bits
    left, top first, then the end (2), after which nothing is scored. Popping the empty stack does nothing.

    The stack has 1 to `length` - 1 bits, each number equally likely. (The paper's loss, though not its accuracy, also
    counts zeros that pad the answers to equal length.)

    Bits are uniform and independent of how many are left, so the best answer without seeing the input is, at place i, a
    bit or the end: whichever of P(more than i left) / 2 and P(exactly i left) is larger. Chance is exact, from the
    distribution of the stack's height after each symbol.

    Args:
        length: see `DrawnTask`; of stack and actions together, at least 2.

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
        size, length = words.shape
        bits = torch.where(words < POP, words, words - PUSH)
        steps = torch.where(words == POP, -1, 1)
        stack = torch.zeros(size, length + 1, dtype=torch.long)
        height = torch.zeros(size, 1, dtype=torch.long)
        for bit, step in zip(bits.split(1, dim=1), steps.split(1, dim=1), strict=True):
            stack.scatter_(1, height, bit)  # where the symbol is POP, this writes above the top
            height = (height + step).clamp(min=0)
        top_first = stack.gather(1, (height - 1 - torch.arange(length + 1)).clamp(min=0))
        return ended(top_first, height, END)

    def chance_at(self, length: int) -> float:
        heights = torch.zeros(length + 1, dtype=torch.float64)  # probabilities, for stacks whose actions have begun
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
