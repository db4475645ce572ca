"""Expressions with brackets: what is ((1--2)*(4+3)), modulo 5? And which x makes it so?

Context-free tasks of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023. Their grammar is

    expression = digit | -digit | (digit) | (-digit) | (expression operator expression)

for 1, 2, 3, 4 and at least 5 symbols. All digits, operators and ways of sharing out the symbols are equally likely.
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.formal.formal_task import FormalTask
from seqmodels.tasks.lengths import LengthSettings

PLUS, MINUS, TIMES, OPEN, CLOSE, UNKNOWN, EQUALS = range(7)
"""Tokens other than digits; digits come first."""
OPERATIONS = [operator.add, operator.sub, operator.mul]


class BracketTask(FormalTask):
    """Base class of tasks about expressions; digits are below `modulus`, `modulus` + 0 is a +, and so on."""

    signs: int
    """The number of tokens other than digits."""

    def __init__(self, length: int | Sequence[int], modulus: int = 5, **lengths: Unpack[LengthSettings]) -> None:
        super().__init__(length, **lengths)
        check_whole("modulus", modulus, 2)
        self.modulus = self.output_size = modulus
        self.input_size = modulus + self.signs

    def draw_expressions(
        self, size: int, length: int, operators: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Random expressions (size, length) with the first `operators` of + - *, and the random number of each place.

        Where an expression begins, the number of that place decides how its symbols are shared out; at an operator or
        a digit, which one it is. The numbers are so large that their remainders are practically uniform.
        """
        numbers = torch.randint(2**62, (size, length), generator=generator)
        expressions = (numbers % self.modulus).numpy().tolist()  # NumPy converts lists faster than torch
        opening, closing, minus = self.modulus + OPEN, self.modulus + CLOSE, self.modulus + MINUS
        for expression, row in zip(expressions, numbers.numpy().tolist(), strict=True):
            parts = [(0, length - 1)]  # the first and the last place of each expression
            for first, last in parts:  # grows while it is read
                others = last - first
                if others >= 4:
                    middle = first + 2 + row[first] % (others - 3)
                    expression[middle] = self.modulus + row[middle] % operators
                    parts += (first + 1, middle - 1), (middle + 1, last - 1)
                elif others % 2:  # -digit or (-digit)
                    expression[first + others // 2] = minus
                if others >= 2:
                    expression[first], expression[last] = opening, closing
        return torch.from_numpy(np.array(expressions)), numbers


class ModularArithmetic(BracketTask):
    """Inputs (batch, length): a random expression of digits and + - * ( ), which are `modulus` to `modulus` + 4;
    target: its value modulo `modulus`.

    Products are more often 0 than a digit is. Chance is exact: it is computed from the distribution of the value, from
    short expressions to long ones.

    Args:
        length: see `DrawnTask`.
        modulus: the modulus of the arithmetic.

    Example:
        >>> ModularArithmetic(length=10).solve(torch.tensor([[8, 3, 7, 8, 4, 5, 6, 2, 9, 9]]))  # (3*(4+-2)) = 6
        tensor([1])
    """

    signs = CLOSE + 1

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        return self.draw_expressions(size, length, TIMES + 1, generator)[0]

    def solve(self, inputs: Tensor) -> Tensor:
        return torch.tensor([self.value(iter(expression)) for expression in inputs.numpy().tolist()])

    def value(self, symbols: Iterator[int]) -> int:
        """The value, modulo `modulus`, of the expression that comes next in `symbols`."""
        first = next(symbols)
        if first < self.modulus:
            return first
        if first == self.modulus + MINUS:
            return -next(symbols) % self.modulus
        left = self.value(symbols)  # in brackets
        sign = next(symbols) - self.modulus
        if sign == CLOSE:
            return left
        right = self.value(symbols)
        next(symbols)  # the closing bracket
        return OPERATIONS[sign](left, right) % self.modulus

    def chance_at(self, length: int) -> float:
        digits = torch.arange(self.modulus)
        results = [operation(digits.unsqueeze(1), digits) % self.modulus for operation in OPERATIONS]
        values = torch.full((length + 1, self.modulus), 1 / self.modulus, dtype=torch.float64)  # by length
        for total in range(5, length + 1):
            shorter = values[1 : total - 3]
            pairs = shorter.T @ shorter.flip(0) / len(shorter) / len(results)
            values[total] = 0
            for result in results:
                values[total].index_add_(0, result.flatten(), pairs.flatten())
        return values[length].max().item()


class SolveEquation(BracketTask):
    """Inputs (batch, length): a random expression of `length` - 2 symbols, with + - ( ) alone, in which x
    (`modulus` + 5) stands for one of the digits; then = (`modulus` + 6) and the value. Target: x.

    Each digit is replaced by x with equal probability. (The paper's code replaces the first digit at or after a random
    place.) Without multiplication there is exactly one x, and it is uniform, so chance is 1 / `modulus`.

    Args:
        length: see `DrawnTask`; at least 3.
        modulus: the modulus of the arithmetic.

    Example:
        >>> SolveEquation(length=7).solve(torch.tensor([[8, 3, 6, 10, 9, 11, 4]]))  # (3-x)=4
        tensor([4])
    """

    signs = EQUALS + 1
    min_length = 3

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        expressions, numbers = self.draw_expressions(size, length - 2, MINUS + 1, generator)
        # The digit with the largest number becomes x.
        places = numbers.masked_fill(expressions >= self.modulus, -1).argmax(dim=1, keepdim=True)
        expressions.scatter_(1, places, self.modulus + UNKNOWN)
        equals = torch.full((size, 1), self.modulus + EQUALS)
        # Each value has its own x, so the value is as uniform as x would be.
        values = torch.randint(0, self.modulus, (size,), generator=generator)
        return torch.cat([expressions, equals, values.unsqueeze(1)], dim=1)

    def solve(self, inputs: Tensor) -> Tensor:
        return torch.tensor([self.solution(row[:-2], row[-1]) for row in inputs.numpy().tolist()])

    def solution(self, expression: list[int], value: int) -> int:
        """The x at which an expression has this value. The value is a sum, in which each digit counts once, with the
        product of the signs before it and before all brackets around it."""
        modulus = self.modulus
        minus, opening, closing, unknown = (modulus + sign for sign in (MINUS, OPEN, CLOSE, UNKNOWN))
        sign, signs = 1, [1]  # of the next digit or bracket, and of the brackets that are open
        for symbol in expression:
            if symbol < modulus:
                value -= sign * symbol
                sign = signs[-1]
            elif symbol == minus:
                sign = -sign
            elif symbol == opening:
                signs.append(sign)
            elif symbol == closing:
                signs.pop()
                sign = signs[-1]
            elif symbol == unknown:
                slope, sign = sign, signs[-1]
        return value * slope % modulus  # a slope of 1 or -1 is its own inverse

    def chance_at(self, length: int) -> float:
        return 1 / self.modulus
