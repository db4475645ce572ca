"""When a pass computes each value of a step, and where values live that have to be kept.

A step is a number of stages. A stage begins with products, and then goes through the rows of the batch, one after the
other, in loops over their columns. Loops of a stage have levels, as a sum over a row has to be complete before it can
be used. Values used in the loop that computes them live in registers; the others have a place in a buffer.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from seqmodels.layers.compiled.values import EXPENSIVE, Builder, Number, Value

REDUCTIONS = ("sum", "max")


@dataclass(frozen=True)
class Place:
    """Columns of a buffer, from `start` on; `row` numbers lie between the rows of the batch."""

    buffer: str
    start: int
    row: int

    def shifted(self, columns: int) -> "Place":
        return Place(self.buffer, self.start + columns, self.row)


@dataclass
class Stage:
    products: list[Value] = field(default_factory=list)
    levels: dict[int, dict[int, list[Value]]] = field(default_factory=dict)
    """Values by level and width; those of width 1 come first."""


class Schedule:
    """The stages of one pass.

    Args:
        builder: that of the values.
        available: the places of values that are not computed here.
        wanted: pairs of a value, which may be a number, and the place where it has to be.
        sums: pairs of a value and the place where its sum over the batch is added.
    """

    def __init__(
        self, builder: Builder, available: dict[Value, Place], wanted: Iterable[tuple[Value | Number, Place, int]],
        sums: Iterable[tuple[Value, Place]],
    ) -> None:  # fmt: skip
        self.builder, self.available = builder, available
        self.homes: dict[Value, list[Place]] = {}
        self.cats: dict[Value, Place] = {}
        self.buffers: dict[str, int] = {place.buffer: place.row for place in available.values()}
        self.roots: list[Value] = []
        for value, place, width in wanted:
            self.buffers[place.buffer] = place.row
            self.put(value, place, width)
        for value, place in sums:
            self.buffers[place.buffer] = place.row
            self.add_up(value, place)
        self.order = self._needed()
        for product in [value for value in self.order if value.name == "product"]:
            self._house_product(product)
        self.order = self._needed()
        self.positions = self._positions()
        self._sink()
        self._house_crossing()
        self.stages = self._stages()

    def put(self, value: Value | Number, place: Place, width: int) -> None:
        """Have a value written to a place."""
        if isinstance(value, Value) and value.name == "cat":
            self.cats.setdefault(value, place)
            for part, start, size in pieces(value):
                self.put(part, place.shifted(start), size)
            return
        if (
            not isinstance(value, Value)
            or value.is_given
            or value.name == "slice"
            or value in self.available
            or (value.name == "product" and value in self.homes)
            or value.width != width
        ):
            value = self.builder.make("copy", (value,), width=width, fresh=True)
        self.homes.setdefault(value, []).append(place)
        self.roots.append(value)

    def add_up(self, value: Value, place: Place) -> None:
        if value.name == "cat":
            for part, start, size in pieces(value):
                if not isinstance(part, Value):
                    part = self.builder.make("copy", (part,), width=size, fresh=True)
                self.add_up(part, place.shifted(start))
            return
        total = self.builder.make("accumulate", (value,), width=value.width, fresh=True)
        self.homes[total] = [place]
        self.roots.append(total)

    def place_of(self, value: Value) -> Place | None:
        """Where a value lies, if it lies anywhere."""
        if value in self.available:
            return self.available[value]
        if value in self.homes:
            return self.homes[value][0]
        if value.name == "slice":
            whole = self.place_of(value.args[0])  # type: ignore[arg-type]
            return None if whole is None else whole.shifted(value.details[0])
        return self.cats.get(value)

    def _needed(self) -> list[Value]:
        """What has to be computed, in an order in which that is possible."""
        seen: set[Value] = set()
        stack = list(self.roots)
        while stack:
            value = stack.pop()
            if value in seen or value.is_given or value in self.available:
                continue
            seen.add(value)
            stack.extend(value.parts())
        return sorted(seen, key=lambda value: value.number)

    def _house_product(self, product: Value) -> None:
        """Products read and write memory."""
        (operand,) = product.parts()
        if self.place_of(operand) is None:
            self.put(operand, self._scratch(operand.width), operand.width)
        if product not in self.homes:
            self.homes[product] = [self._scratch(product.width)]

    def _scratch(self, width: int) -> Place:
        name = f"scratch{sum(name.startswith('scratch') for name in self.buffers)}"
        self.buffers[name] = width
        return Place(name, 0, width)

    def _positions(self) -> dict[Value, tuple[int, int]]:
        """The earliest stage and level of each value."""
        positions: dict[Value, tuple[int, int]] = {}
        for value in self.order:
            position = (0, 0)
            for part in value.parts():
                stage, level = positions.get(part, (0, 0))
                if value.name == "product" and part in positions and not self._is_ready_before(part):
                    stage, level = stage + 1, 0
                elif part.name in REDUCTIONS and part in positions:
                    level += 1
                position = max(position, (stage, level))
            positions[value] = position
        return positions

    def _is_ready_before(self, value: Value) -> bool:
        """Whether the loops of a stage need not have run: for (slices of) products, which come first."""
        return value.name == "product" or (value.name == "slice" and value.args[0].name == "product")  # type: ignore[union-attr]

    def users(self) -> dict[Value, list[Value]]:
        users: dict[Value, list[Value]] = {}
        for value in self.order:
            for part in value.parts():
                users.setdefault(part, []).append(value)
        return users

    def _sink(self) -> None:
        """Compute cheap values only where they are used: an operand in memory is better than a result there."""
        users = self.users()
        for value in reversed(self.order):
            structural = value.name in ("product", "cat", "slice", "accumulate", *REDUCTIONS, *EXPENSIVE)
            if value in self.homes or structural or value not in users:
                continue
            direct = [user for user in users[value] if user.name != "cat"]
            self.positions[value] = max(self.positions[value], min(self.positions[user] for user in direct))

    def key(self, value: Value) -> tuple[int, int, int]:
        """The loop that computes a value: its stage, level and width."""
        width = value.args[0].width if value.name in REDUCTIONS else value.width  # type: ignore[union-attr]
        return *self.positions[value], width

    def _house_crossing(self) -> None:
        """A place for every value that another loop uses; single numbers of a row stay within their stage."""
        for value, users in self.users().items():
            if value not in self.positions or value.name in ("product", "cat", "slice") or value in self.homes:
                continue
            for user in users:
                if user.name in ("cat", "product"):
                    continue
                same = (
                    self.key(value)[0] == self.key(user)[0] if value.width == 1 else self.key(value) == self.key(user)
                )
                if not same:
                    self.homes[value] = [self._scratch(value.width)]
                    break

    def _stages(self) -> list[Stage]:
        stages = [Stage() for _ in range(1 + max(stage for stage, _ in self.positions.values()))]
        for value in self.order:
            stage, level, width = self.key(value)
            if value.name == "product":
                stages[stage].products.append(value)
            elif value.name not in ("cat", "slice"):
                stages[stage].levels.setdefault(level, {}).setdefault(width, []).append(value)
        for each in stages:
            each.levels = {level: dict(sorted(each.levels[level].items())) for level in sorted(each.levels)}
        return stages


def pieces(cat: Value) -> list[tuple[Value | Number, int, int]]:
    """The parts of a concatenation, with their first columns and widths."""
    sizes = cat.details[0]
    return [(part, sum(sizes[:place]), sizes[place]) for place, part in enumerate(cat.args)]
