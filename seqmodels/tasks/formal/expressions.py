"""Expressions with brackets: what is ((1--2)*(4+3)), modulo 5? And which x makes it so?

Context-free tasks of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023. Their grammar is

    expression = digit | -digit | (digit) | (-digit) | (expression operator expression)

for 1, 2, 3, 4 and at least 5 symbols. All digits, operators and ways to share out the symbols are equally likely.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

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
        digits = torch.arange(modulus)
        rows = digits.unsqueeze(1)
        self.results = torch.stack([rows + digits, rows - digits, rows * digits]) % modulus

    def draw_expressions(self, size: int, length: int, operators: int, generator: torch.Generator) -> Tensor:
        """Random expressions (size, length) with the first `operators` of + - *, outermost brackets first."""
        text = torch.randint(0, self.modulus, (size * length,), generator=generator)
        starts = torch.arange(0, size * length, length)
        lengths = torch.full_like(starts, length)
        expressions, operator_places = [], []
        while len(starts):
            expressions.append(torch.stack([starts, lengths]))
            starts, lengths = expressions[-1][:, lengths > 4]
            shares = torch.rand(len(starts), generator=generator, dtype=torch.float64)
            left = 1 + (shares * (lengths - 4)).long()
            places = starts + 1 + left
            operator_places.append(places)
            starts, lengths = torch.cat([starts + 1, places + 1]), torch.cat([left, lengths - 3 - left])

        places = torch.cat(operator_places)
        text[places] = self.modulus + torch.randint(0, operators, (len(places),), generator=generator)
        starts, lengths = torch.cat(expressions, dim=1)
        negative = (lengths == 2) | (lengths == 4)
        text[(starts + (lengths == 4))[negative]] = self.modulus + MINUS
        bracketed = lengths > 2
        text[starts[bracketed]] = self.modulus + OPEN
        text[(starts + lengths - 1)[bracketed]] = self.modulus + CLOSE
        return text.unflatten(0, (size, length))

    def evaluate(self, expressions: Tensor) -> Tensor:
        """The values (batch,) of any expressions (batch, time) of the grammar, innermost brackets first."""
        symbols = expressions - self.modulus
        before = F.pad(symbols, (1, -1), value=OPEN)
        unary = (symbols == MINUS) & (before >= PLUS) & (before != CLOSE)
        negated = torch.where(F.pad(unary, (1, -1)), -expressions % self.modulus, expressions)

        text = negated[~unary]  # of the whole batch; no bracket closes in another row
        first = bracket_starts(text - self.modulus, 2)
        text = without(text, torch.cat([first, first + 2]))
        while len(text) > len(expressions):
            first = bracket_starts(text - self.modulus, 4)
            text[first] = self.results[text[first + 2] - self.modulus, text[first + 1], text[first + 3]]
            text = without(text, (first.unsqueeze(1) + torch.arange(1, 5)).flatten())
        return text


def bracket_starts(symbols: Tensor, distance: int) -> Tensor:
    """Where a bracket opens and, so many symbols on, one closes."""
    return ((symbols[:-distance] == OPEN) & (symbols[distance:] == CLOSE)).nonzero().squeeze(1)


def without(text: Tensor, places: Tensor) -> Tensor:
    return text[torch.ones_like(text, dtype=torch.bool).index_fill_(0, places, False)]


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
        return self.draw_expressions(size, length, TIMES + 1, generator)

    def solve(self, inputs: Tensor) -> Tensor:
        return self.evaluate(inputs)

    def chance_at(self, length: int) -> float:
        values = torch.full((length + 1, self.modulus), 1 / self.modulus, dtype=torch.float64)  # by length
        for total in range(5, length + 1):
            shorter = values[1 : total - 3]
            pairs = shorter.T @ shorter.flip(0) / len(shorter) / 3
            values[total] = 0
            values[total].index_add_(0, self.results.flatten(), pairs.expand_as(self.results).flatten())
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
        expressions = self.draw_expressions(size, length - 2, MINUS + 1, generator)
        values = self.evaluate(expressions).unsqueeze(1)
        lots = torch.rand(expressions.shape, generator=generator).masked_fill_(expressions >= self.modulus, -1)
        expressions.scatter_(1, lots.argmax(dim=1, keepdim=True), self.modulus + UNKNOWN)
        return torch.cat([expressions, torch.full_like(values, self.modulus + EQUALS), values], dim=1)

    def solve(self, inputs: Tensor) -> Tensor:
        expressions, values = inputs[:, :-2], inputs[:, -1]
        unknown = expressions == self.modulus + UNKNOWN
        both = torch.cat([expressions.masked_fill(unknown, x) for x in (0, 1)])
        at_zero, at_one = self.evaluate(both).chunk(2)
        return (values - at_zero) * (at_one - at_zero) % self.modulus  # the slope is its own inverse: 1 or -1

    def chance_at(self, length: int) -> float:
        return 1 / self.modulus
