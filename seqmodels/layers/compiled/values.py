"""The values of a step: rows of numbers, one for each sequence of the batch, and the operations that make them.

A value is (batch, width), or (width,) if it comes from the weights alone. Equal operations on equal values are one
value. Slices and concatenations move no numbers: a slice of a pointwise operation is the operation of slices, and an
operation on a concatenation is the concatenation of operations on its parts.
"""

from collections.abc import Iterator
from typing import Any

import torch

EXPENSIVE = frozenset(
    ("exp", "expm1", "log", "log1p", "sigmoid", "tanh", "sqrt", "rsqrt", "sin", "cos", "erf", "pow", "div_by")
)
"""Pointwise operations that are worth keeping for the backward pass."""

Number = int | float | bool


class Value:
    """One operation: `input`, `vector`, `product`, `cat`, `slice`, a reduction `sum` or `max`, or pointwise.

    `details` are what the operation needs beside other values: a name, a matrix, an offset.
    """

    __slots__ = ("args", "boolean", "details", "late", "name", "number", "width")

    def __init__(
        self, number: int, name: str, args: tuple["Value | Number", ...], details: tuple[Any, ...], width: int,
        late: bool, boolean: bool,
    ) -> None:  # fmt: skip
        self.number, self.name, self.args, self.details = number, name, args, details
        self.width, self.late, self.boolean = width, late, boolean

    @property
    def is_given(self) -> bool:
        """Whether nothing has to be computed in the loop."""
        return self.name in ("input", "vector")

    def parts(self) -> Iterator["Value"]:
        """The values it is computed from."""
        return (part for part in self.args if isinstance(part, Value))

    def __repr__(self) -> str:
        shown = ", ".join(f"v{part.number}" if isinstance(part, Value) else str(part) for part in self.args)
        return f"v{self.number}[{self.width}] = {self.name}({shown}) {self.details or ''}"


class Builder:
    """Makes values, each once."""

    def __init__(self) -> None:
        self.known: dict[Any, Value] = {}

    def make(
        self, name: str, args: tuple[Value | Number, ...] = (), details: tuple[Any, ...] = (), *, width: int,
        late: bool = False, boolean: bool = False, fresh: bool = False,
    ) -> Value:  # fmt: skip
        key = name, tuple((type(part), part) for part in args), details, width
        if fresh or key not in self.known:
            late = late or any(part.late for part in args if isinstance(part, Value))
            value = Value(len(self.known), name, args, details, width, late, boolean)
            self.known[object() if fresh else key] = value
            return value
        return self.known[key]

    def pointwise(self, name: str, *args: Value | Number, boolean: bool = False) -> Value | Number:
        if (simple := _simplified(name, args)) is not None:
            return simple
        width = max(part.width for part in args if isinstance(part, Value))
        cuts = sorted({cut for part in args if _is_cat(part, width) for cut in _cuts(part)})  # type: ignore[arg-type]
        if cuts:
            return self.cat(
                [
                    self.pointwise(name, *(self._piece(part, width, *piece) for part in args), boolean=boolean)
                    for piece in zip([0, *cuts], [*cuts, width], strict=True)
                ],
                [end - start for start, end in zip([0, *cuts], [*cuts, width], strict=True)],
            )
        return self.make(name, args, width=width, boolean=boolean)

    def _piece(self, part: Value | Number, width: int, start: int, end: int) -> Value | Number:
        return self.slice(part, start, end - start) if isinstance(part, Value) and part.width == width else part

    def reduce(self, name: str, value: Value) -> Value | Number:
        """The sum or the maximum of each row."""
        if value.width == 1:
            return value
        if value.name == "cat":
            widths = value.details[0]
            total, *others = (self._reduced(name, *pair) for pair in zip(value.args, widths, strict=True))
            for other in others:
                total = self.pointwise({"sum": "add", "max": "maximum"}[name], total, other)
            return total
        return self.make(name, (value,), width=1)

    def _reduced(self, name: str, part: Value | Number, width: int) -> Value | Number:
        """The sum or the maximum of what lies side by side with others; a number stands for `width` columns."""
        if isinstance(part, Value):
            return self.reduce(name, part)
        return self.pointwise("mul", part, width) if name == "sum" else part

    def slice(self, value: Value, start: int, width: int) -> Value | Number:
        if width == value.width:
            return value
        if value.name == "vector":
            name, offset = value.details
            return self.make("vector", (), (name, offset + start), width=width)
        if value.name == "slice":
            return self.make("slice", value.args, (value.details[0] + start,), width=width)
        if value.name in ("input", "product"):
            return self.make("slice", (value,), (start,), width=width)
        if value.name == "cat":
            pieces, widths, at = [], [], 0
            for part, size in zip(value.args, value.details[0], strict=True):
                first, last = max(start, at), min(start + width, at + size)
                if first < last:
                    piece = self.slice(part, first - at, last - first) if isinstance(part, Value) else part
                    pieces.append(piece)
                    widths.append(last - first)
                at += size
            return self.cat(pieces, widths)
        pieces = [self._piece(part, value.width, start, start + width) for part in value.args]
        return self.widened(self.pointwise(value.name, *pieces, boolean=value.boolean), width)

    def widened(self, value: Value | Number, width: int) -> Value | Number:
        """The same value in each of `width` columns, if it has but one."""
        if isinstance(value, Value) and value.width == 1 < width:
            return self.make("copy", (value,), width=width, boolean=value.boolean)
        return value

    def cat(self, parts: list[Value | Number], widths: list[int]) -> Value | Number:
        """Columns side by side; a number stands for as many columns of it."""
        flat: list[Value | Number] = []
        sizes: list[int] = []
        for part, size in zip(parts, widths, strict=True):
            if isinstance(part, Value) and part.name == "cat":
                flat += part.args
                sizes += part.details[0]
            else:
                flat.append(self.widened(part, size))
                sizes.append(size)
        if len(flat) == 1:
            return flat[0]
        return self.make("cat", tuple(flat), (tuple(sizes),), width=sum(sizes))


def _is_cat(part: Value | Number, width: int) -> bool:
    return isinstance(part, Value) and part.name == "cat" and part.width == width


def _cuts(cat: Value) -> list[int]:
    sizes = cat.details[0]
    return [sum(sizes[:count]) for count in range(1, len(sizes))]


def _simplified(name: str, args: tuple[Value | Number, ...]) -> Value | Number | None:
    """The result where nothing has to be computed, such as x + 0."""
    if not any(isinstance(part, Value) for part in args):
        return _of_numbers(name, args)
    numbers = [part if not isinstance(part, Value) else None for part in args]
    if name == "add" and 0 in numbers:
        return args[1 - numbers.index(0)]
    if (name == "sub" and numbers[1] == 0) or (name in ("mul", "div") and numbers[1] == 1):
        return args[0]
    if name == "mul" and numbers[0] == 1:
        return args[1]
    return None


def _of_numbers(name: str, args: tuple[Any, ...]) -> Number:
    """The result of an operation on numbers alone."""
    if name == "copy":
        return args[0]
    tensors = (torch.tensor(part, dtype=torch.bool if isinstance(part, bool) else torch.float64) for part in args)
    return getattr(torch, name)(*tensors).item()
