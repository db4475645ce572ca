"""Expressions with brackets: what is ((1--2)*(4+3)), modulo 5? And which x makes it so?

Context-free tasks of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023. Their grammar is

    expression = digit | -digit | (digit) | (-digit) | (expression operator expression)

for 1, 2, 3, 4 and at least 5 symbols. All digits, operators and ways to share out the symbols are equally likely.
"""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.drawn import Lengths
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.task import check_whole

PLUS, MINUS, TIMES, OPEN, CLOSE, UNKNOWN, EQUALS = range(7)
"""Tokens other than digits, which come first."""


class BracketTask(FormalTask):
    """Base class of tasks about expressions; digits are below `modulus`, `modulus` + 0 is a +, and so on."""

    symbols: int
    """How many of the tokens other than digits there are."""

    def __init__(
        self,
        length: int | Sequence[int],
        modulus: int = 5,
        **lengths: Unpack[Lengths],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("modulus", modulus, 2)
        self.modulus = self.output_size = modulus
        self.input_size = modulus + self.symbols
        left, right = np.arange(self.input_size)[:, None], np.arange(modulus)
        self.results = np.stack([left + right, left - right, left * right, 0 * left + right]) % modulus
        """What + - * make of what is on their left and on their right; and (, of what is alone in its brackets."""
        self.digits = np.where(np.arange(self.input_size) < modulus, np.arange(self.input_size), 0)
        """The value of each symbol, as far as it has one by itself."""
        self.outwards = np.zeros(self.input_size, dtype=np.int64)
        self.outwards[[modulus + OPEN, modulus + CLOSE]] = -1, 1
        """Out of how many brackets each symbol leads."""

    def draw_expressions(
        self, size: int, length: int, operators: int, generator: torch.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Random expressions (size, length) with the first `operators` of + - *, outermost brackets first; and a random
        number for each place, which where there is a digit tells nothing but that digit.

        There are many small steps, here and in `brackets`, and NumPy takes less time for each than torch does.
        """
        # A lot for each place. It decides, where an expression begins, how it shares out its symbols; at an operator,
        # which one it is; at a digit, which one. Numbers so large are even or odd, and so on, equally often.
        lots = torch.randint(2**62, (size * length,), generator=generator).numpy()
        text = lots % self.modulus
        starts = np.arange(0, size * length, length)
        ends = starts + length
        all_starts, all_ends, operator_places = [starts], [ends], []
        while len(starts):
            ways = ends - starts - 4
            longer = (ways > 0).nonzero()[0]
            starts, ends = starts.take(longer), ends.take(longer)
            places = starts + lots.take(starts) % ways.take(longer) + 2
            operator_places.append(places)
            starts, ends = np.concatenate([starts + 1, places + 1]), np.concatenate([places, ends - 1])
            all_starts.append(starts)
            all_ends.append(ends)

        places = np.concatenate(operator_places)
        text[places] = self.modulus + lots.take(places) % operators
        starts, ends = np.concatenate(all_starts), np.concatenate(all_ends)
        lengths = ends - starts
        bracketed = (lengths > 2).nonzero()[0]
        text[starts.take(bracketed)] = self.modulus + OPEN
        text[ends.take(bracketed) - 1] = self.modulus + CLOSE
        negative = ((lengths == 2) | (lengths == 4)).nonzero()[0]
        text[starts.take(negative) + (lengths.take(negative) == 4)] = self.modulus + MINUS
        return text.reshape(size, length), lots.reshape(size, length)

    def brackets(self, text: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Places in expressions of the grammar, one after the other: where a digit or x has a sign before it; where
        brackets close, innermost first; the operator between them, or their opening if there is none; their level,
        which is minus their depth."""
        outwards = self.outwards.take(text)
        closes = outwards > 0
        levels = outwards.cumsum() - closes  # a closing bracket has the level of the one it closes
        symbols = text - self.modulus
        signs = (symbols >= PLUS) & (symbols <= TIMES)
        operators = signs & (levels < 0)
        operators[1:] &= ((symbols < 0) | (symbols == UNKNOWN) | closes)[:-1]
        signs ^= operators

        # In order of level, the symbol before a closing bracket is its operator, or where there is none its opening.
        marks = (operators | (outwards != 0)).nonzero()[0]
        order = levels.take(marks).astype(np.min_scalar_type(-len(text))).argsort(kind="stable")  # two bytes sort fast
        marks = marks.take(order)
        last = closes.take(marks).nonzero()[0]
        ends = marks.take(last)
        return signs.nonzero()[0] + 1, ends, marks.take(last - 1), levels.take(ends)


class ModularArithmetic(BracketTask):
    """Inputs (batch, length): a random expression of digits and + - * ( ), which are `modulus` to `modulus` + 4;
    target: its value modulo `modulus`.

    Products are more often 0 than a digit is; the guess line carries the distribution of the value from short
    expressions to long ones, and is exact.

    Args:
        length: see `DrawnTask`, and there for `lengths`.
        modulus: what numbers are taken modulo of.

    Example:
        >>> ModularArithmetic(length=10).solve(torch.tensor([[8, 3, 7, 8, 4, 5, 6, 2, 9, 9]]))  # (3*(4+-2)) = 6
        tensor([1])
    """

    symbols = CLOSE + 1

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return torch.from_numpy(self.draw_expressions(size, length, TIMES + 1, generator)[0])

    def solve(self, inputs: Tensor) -> Tensor:
        values = inputs.flatten().clone().numpy()
        symbols = values - self.modulus
        signed, ends, between, depths = self.brackets(values)
        values[signed] = -values.take(signed) % self.modulus
        # A value stands where its expression ends, so on the left it is one place before the operator, and on the right
        # one before the bracket that closes. Brackets of one depth are done at once.
        rows = symbols.take(between) * self.input_size
        levels = [0, *((depths[1:] != depths[:-1]).nonzero()[0] + 1).tolist(), len(ends)]
        for level in map(slice, levels, levels[1:]):
            left, right = values.take(between[level] - 1), values.take(ends[level] - 1)
            values[ends[level]] = self.results.take((rows[level] + left) * self.modulus + right)
        return torch.from_numpy(values).view_as(inputs)[:, -1].clone()

    def chance_at(self, length: int) -> float:
        results = torch.from_numpy(self.results[: TIMES + 1, : self.modulus])
        values = torch.full((length + 1, self.modulus), 1 / self.modulus, dtype=torch.float64)  # by length
        for total in range(5, length + 1):
            shorter = values[1 : total - 3]
            pairs = shorter.T @ shorter.flip(0) / len(shorter) / 3
            values[total] = 0
            values[total].index_add_(0, results.flatten(), pairs.expand_as(results).flatten())
        return values[length].max().item()


class SolveEquation(BracketTask):
    """Inputs (batch, length): a random expression of `length` - 2 symbols, with + - ( ) alone, in which x
    (`modulus` + 5) stands for one of the digits; then = (`modulus` + 6) and the value. Target: x.

    Without multiplication there is exactly one x, and it is uniform: a guess is right 1 in `modulus` times.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least 3.
        modulus: what numbers are taken modulo of.

    Example:
        >>> SolveEquation(length=7).solve(torch.tensor([[8, 3, 6, 10, 9, 11, 4]]))  # (3-x)=4
        tensor([4])
    """

    symbols = EQUALS + 1
    min_length = 3

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        expressions, lots = self.draw_expressions(size, length - 2, MINUS + 1, generator)
        lots[expressions >= self.modulus] = -1
        inputs = np.empty((size, length), dtype=np.int64)
        inputs[:, :-2] = expressions
        inputs[np.arange(size), lots.argmax(axis=1)] = self.modulus + UNKNOWN
        inputs[:, -2] = self.modulus + EQUALS
        # Any value has its x, and each its own, so the value is as uniform as x would be.
        inputs[:, -1] = torch.randint(0, self.modulus, (size,), generator=generator).numpy()
        return torch.from_numpy(inputs)

    def solve(self, inputs: Tensor) -> Tensor:
        """The value is a sum, in which a digit counts once or minus once, as often as a minus stands before it or
        before brackets around it."""
        expressions, values = inputs.numpy()[:, :-2], inputs.numpy()[:, -1]
        text = expressions.ravel()
        signed, ends, operators, _ = self.brackets(text)
        subtracted = (text.take(operators) == self.modulus + MINUS).nonzero()[0]
        turns = np.zeros(len(text), dtype=np.int64)  # from an operator to where the brackets around it close
        turns[operators.take(subtracted)] = 1
        turns[ends.take(subtracted)] -= 1
        turns = turns.cumsum()
        turns[signed] += 1
        factors = 1 - 2 * (turns & 1)
        known = (self.digits.take(text) * factors).reshape(expressions.shape).sum(axis=1)
        slopes = factors.take((text == self.modulus + UNKNOWN).nonzero()[0])
        return torch.from_numpy((values - known) * slopes % self.modulus)  # a slope of 1 or -1 is its own inverse

    def chance_at(self, length: int) -> float:
        return 1 / self.modulus
