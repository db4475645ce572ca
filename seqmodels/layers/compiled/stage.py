"""Python source of one stage of a pass: its products, and a function for its loops over rows and columns."""

import math
from typing import Any

from seqmodels.layers.compiled.schedule import REDUCTIONS, Place, Stage
from seqmodels.layers.compiled.values import Number, Value

EXPRESSIONS = {
    **{"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}", "copy": "{}"},
    **{"eq": "{} == {}", "ne": "{} != {}", "lt": "{} < {}", "le": "{} <= {}", "gt": "{} > {}", "ge": "{} >= {}"},
    **{"logical_and": "{} & {}", "logical_or": "{} | {}", "logical_not": "not {}", "where": "{1} if {0} else {2}"},
    "maximum": "{0} if ({0} >= {1}) | ({0} != {0}) else {1}",
    "minimum": "{0} if ({0} <= {1}) | ({0} != {0}) else {1}",
    "sign": "F(0) if {0} == F(0) else ({0} if {0} != {0} else (F(1) if {0} > F(0) else F(-1)))",
    "relu": "F(0) if {0} <= F(0) else {0}",
    "reciprocal": "F(1) / {}",
    "rsqrt": "F(1) / sqrt({})",
}
"""Pointwise operations; all others are calls of a function of their name."""

LOGICAL = ("logical_and", "logical_or", "logical_not")


class StageSource:
    """The lines of a stage, in the source of a pass that names sizes and matrices."""

    def __init__(self, source: Any, stage: Stage, number: int) -> None:
        self.source, self.schedule, self.number = source, source.schedule, number
        self.products, self.levels = stage.products, stage.levels
        self.pointers: list[Place] = []
        self.vectors: list[tuple[str, int]] = []
        self.sizes: list[str] = []
        self.scalars: dict[str, str] = {}
        """Loads before the loop over rows, and in it, by the names they define."""
        self.known: dict[Value, str] = {}
        """Values of width 1, which stay known for the rest of a row."""
        self.body = [line for level in self.levels.values() for line in self.level(level)]

    def steps(self) -> list[str]:
        """The lines of the loop over time."""
        lines = [self.product(product) for product in self.products]
        if self.levels:
            places = [f"pointer({self.source.address(place)}), {self.row_of(place)}" for place in self.pointers]
            offsets = [f"pointer(q{self.vector_index(name)} + {self.offset(start)})" for name, start in self.vectors]
            lines += [f"stage{self.number}({', '.join(['rows', *self.sizes, *places, *offsets])})"]
        return lines

    def offset(self, start: int) -> str:
        return f"{self.source.size(start)} * ITEM"

    def vector_index(self, name: str) -> int:
        if name not in self.source.vectors:
            self.source.vectors.append(name)
        return self.source.vectors.index(name)

    def row_of(self, place: Place) -> str:
        return "0" if place.buffer.startswith("total") else self.source.size(place.row, place.buffer)

    def product(self, product: Value) -> str:
        (operand,) = product.parts()
        given, result = self.schedule.place_of(operand), self.schedule.homes[product][0]
        assert given is not None
        size = self.source.size
        a, c = (
            f"matrix(pointer({self.source.address(place)}), rows, {size(width, place.buffer)}, "
            f"{size(place.row, place.buffer)})"
            for place, width in ((given, operand.width), (result, product.width))
        )
        line = f"multiply({a}, {self.source.matrix(product, given.buffer, result.buffer)}, {c}, False)"
        return f"if sizes[2]: {line}" if result.buffer == "d_sequence" else line

    def function(self) -> str:
        places = [f"p{at}, w{at}" for at in range(len(self.pointers))]
        parameters = ["rows", *self.sizes, *places, *(f"q{at}" for at in range(len(self.vectors)))]
        lines = ["@compiled", f"def stage{self.number}({', '.join(parameters)}):", "    for row in range(rows):"]
        lines += [f"        r{at} = row * w{at}" for at in range(len(self.pointers))]
        return "\n".join(lines + [f"        {line}" for line in self.body])

    def level(self, level: dict[int, list[Value]]) -> list[str]:
        lines = []
        for width, values in level.items():
            reductions = [value for value in values if value.name in REDUCTIONS]
            for value in reductions:
                lines.append(f"v{value.number} = {'F(0)' if value.name == 'sum' else 'F(-INFINITY)'}")
            before: list[str] = []
            inside: list[str] = []
            local: dict[Value, str] = {}
            for value in values:
                self.statement(value, width, local, before, inside)
            lines += before
            if width == 1:
                lines += inside
                self.known |= local
            else:
                lines += [f"for j in range({self.parameter(width)}):", *(f"    {line}" for line in inside)]
            for value in reductions:
                self.known[value] = f"v{value.number}"
                lines += [self.store(value, place, "0") for place in self.schedule.homes.get(value, [])]
        return lines

    def parameter(self, width: int) -> str:
        name = self.source.size(width)
        if name not in self.sizes:
            self.sizes.append(name)
        return name

    def statement(
        self, value: Value, width: int, local: dict[Value, str], before: list[str], inside: list[str]
    ) -> None:
        """The lines that compute a value; `before` are those that are the same for all columns."""
        column = "0" if width == 1 else "j"
        operands = [self.operand(part, value, width, local, before, inside) for part in value.args]
        name = f"v{value.number}"
        if value.name == "sum":
            inside.append(f"{name} += {operands[0]}")
        elif value.name == "max":
            inside.append(
                f"{name} = {operands[0]} if ({operands[0]} > {name}) | ({operands[0]} != {operands[0]}) else {name}"
            )
        elif value.name == "accumulate":
            pointer = self.pointer(self.schedule.homes[value][0])
            inside.append(f"p{pointer}[{column}] += {operands[0]}")
        else:
            expression = EXPRESSIONS.get(value.name, value.name + "({})").format(*operands)
            inside.append(f"{name} = {expression}")
            local[value] = name
            inside += [self.store(value, place, column) for place in self.schedule.homes.get(value, [])]

    def store(self, value: Value, place: Place, column: str) -> str:
        pointer = self.pointer(place)
        number = f"F(1) if v{value.number} else F(0)" if value.boolean else f"v{value.number}"
        return f"p{pointer}[r{pointer} + {column}] = {number}"

    def operand(
        self, part: Value | Number, user: Value, width: int, local: dict[Value, str], before: list[str],
        inside: list[str],
    ) -> str:  # fmt: skip
        logical = user.name in LOGICAL or (user.name == "where" and part is user.args[0])
        if not isinstance(part, Value):
            return str(bool(part)) if logical else literal(part)
        name = local.get(part) or self.known.get(part)
        if name is None:
            name = f"v{part.number}"
            wide = part.width > 1
            if part.name == "vector":
                if (key := part.details) not in self.vectors:
                    self.vectors.append(key)
                    self.vector_index(key[0])
                load = f"q{self.vectors.index(key)}[{'j' if wide else '0'}]"
            else:
                place = self.schedule.place_of(part)
                assert place is not None, part
                pointer = self.pointer(place)
                load = f"p{pointer}[r{pointer} + {'j' if wide else '0'}]"
            if part.boolean:
                load = f"{load} != F(0)"
            (inside if wide or width == 1 else before).append(f"{name} = {load}")
            (local if wide or width == 1 else self.known)[part] = name
        if part.boolean != logical:
            return f"({name} != F(0))" if logical else f"(F(1) if {name} else F(0))"
        return name

    def pointer(self, place: Place) -> int:
        if place not in self.pointers:
            self.pointers.append(place)
            self.row_of(place)
        return self.pointers.index(place)


def literal(number: Number) -> str:
    if isinstance(number, float) and not math.isfinite(number):
        return "F(NAN)" if math.isnan(number) else f"F({'-' if number < 0 else ''}INFINITY)"
    return f"F({float(number)!r})"
