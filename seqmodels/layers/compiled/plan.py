"""A cell's forward and backward pass: what each computes, and what the forward pass keeps for the other.

The forward pass keeps states, products and the results of `EXPENSIVE` functions. The backward pass computes again what
is cheap. The gradient of a weight matrix is one product after the loop, of rows that are stored for all steps; that of
a vector is a sum after the loop, if its rows are stored anyway, or else in it.
"""

import functools
from typing import Any

import torch
from torch import Tensor, fx

from seqmodels.layers.compiled.codegen import Source
from seqmodels.layers.compiled.layout import Layout
from seqmodels.layers.compiled.lower import Step
from seqmodels.layers.compiled.rules import source_of
from seqmodels.layers.compiled.schedule import REDUCTIONS, Place, Schedule
from seqmodels.layers.compiled.trace import Trace, Untraceable
from seqmodels.layers.compiled.values import EXPENSIVE, Value


class Plan:
    """The sources of both passes.

    `kept` are the widths of the buffers that the forward pass fills for all steps, `rows` of those that the backward
    pass fills for a chunk of them, and `sums` of those to which it adds. `totals` names the buffer of each total.
    """

    def __init__(self, trace: Trace, step: Step, dtype: str) -> None:
        self.trace, self.step = trace, step
        self.weights = [name for name, node in trace.weights.items() if node.users]
        self.widths = [value.width for value in step.after]
        inputs = {value.details[0]: value for value in step.builder.known.values() if value.name == "input"}
        self.sequence_width = inputs["sequence"].width
        self.given = {value: Place(name, 0, value.width) for name, value in inputs.items()}
        self.after = [Place(f"after{at}", 0, width) for at, width in enumerate(self.widths)]
        kept = self._kept()
        self.kept = {f"kept{at}": value.width for at, value in enumerate(kept)}
        stored = {value: Place(f"kept{at}", 0, value.width) for at, value in enumerate(kept)}
        self.forward = Source(self._forward(stored), dtype)
        available = self.given | stored | dict(zip(step.after, self.after, strict=True))
        self.rows: dict[str, int] = {}
        self.sums: dict[str, int] = {}
        self.totals: dict[fx.Node, str] = {}
        self.outers: dict[str, tuple[Place, int, Place, int]] = {}
        self.backward = Source(self._backward(available), dtype, self.outers)
        self.totals_of = {name: self._totals_of(node) for name, node in step.d_weights.items()}
        self.direct = {name: self._direct(node, trace.weights[name]) for name, node in step.d_weights.items()}
        self.shapes = self._shapes()
        self.sums_for = functools.cache(self._sums_for)
        self.item = getattr(torch, dtype).itemsize
        self.layouts: dict[tuple[Any, ...], Layout] = {}
        names = {node: name for name, node in trace.weights.items()}
        self.aliases = {name: names[node] for name, node in step.loop_constants.items() if node in names}
        self.literals = {
            name: torch.tensor([number], dtype=getattr(torch, dtype)) for name, number in step.literals.items()
        }

    def remember(self, key: tuple[Any, ...], layout: Layout) -> Layout:
        """Keep the layout for sizes, but not those of all lengths that a long run has seen."""
        if len(self.layouts) >= LAYOUTS:
            self.layouts.clear()
        self.layouts[key] = layout
        return layout

    def _sums_for(self, wanted: tuple[str, ...]) -> list[str]:
        """The totals that the gradients of these weights need."""
        needed = {total for name in wanted for total in self.totals_of[name]}
        return [total for total in self.backward.results if total in needed]

    def _direct(self, node: fx.Node | None, weight: fx.Node) -> str | None:
        """The total that is the gradient of a weight as it is."""
        transposed = False
        while node is not None and node not in self.totals:
            base, flipped = source_of(node)
            if base is node:
                if node.target not in VIEWS or transposed:
                    return None
                base = node.all_input_nodes[0]
            transposed ^= flipped
            node = base
        return None if node is None or transposed else self.totals[node]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of totals: those of weights, where they are their gradients."""
        shapes = {name: tuple(node.meta["val"].shape) for node, name in self.totals.items()}
        return shapes | {
            total: tuple(self.trace.weights[name].meta["val"].shape)
            for name, total in reversed(self.direct.items())
            if total is not None
        }

    def _totals_of(self, node: fx.Node | None) -> set[str]:
        """The totals that the gradient of a weight is computed from."""
        if node is None:
            return set()
        if node in self.totals:
            return {self.totals[node]}
        return {total for part in node.all_input_nodes for total in self._totals_of(part)}

    def _forward(self, stored: dict[Value, Place]) -> Schedule:
        given = {value: place for value, place in self.given.items() if not value.late}
        wanted = [(value, place, value.width) for value, place in zip(self.step.after, self.after, strict=True)]
        wanted += [(value, place, value.width) for value, place in stored.items()]
        return Schedule(self.step.builder, given, wanted, [])

    def _kept(self) -> list[Value]:
        """Early values that the backward pass loads."""
        kept: dict[Value, None] = {}
        free: set[Value] = set(self.step.after)

        def is_at_hand(value: Value) -> bool:
            return value.is_given or value in free or value in kept or self._is_slice_of(value, "input")

        def is_cheap(value: Value) -> bool:
            return is_at_hand(value) or (self._recomputes(value) and all(map(is_cheap, value.parts())))

        frontier = self._frontier(free)
        for value in frontier:
            if not is_at_hand(value) and not self._recomputes(value):
                kept[value] = None
        for value in frontier:
            self._keep(value, kept, is_cheap)
        return list(kept)

    def _keep(self, value: Value, kept: dict[Value, None], is_cheap: Any) -> None:
        """Store a value, unless it can be computed again; of comparisons, and of what lies side by side, the parts."""
        if is_cheap(value):
            return
        if value.boolean or value.name == "cat":
            for part in value.parts():
                self._keep(part, kept, is_cheap)
        else:
            kept[value] = None

    def _recomputes(self, value: Value) -> bool:
        return value.name not in (*EXPENSIVE, *REDUCTIONS, "product", "slice")

    def _is_slice_of(self, value: Value, name: str) -> bool:
        return value.name == "slice" and value.args[0].name == name  # type: ignore[union-attr]

    def _frontier(self, free: set[Value]) -> list[Value]:
        """Early values that late ones, or the gradients of weights, are computed from."""
        step = self.step
        roots: list[Any] = [step.d_sequence, *step.d_state, *(part for parts in step.totals.values() for part in parts)]
        stack = [value for value in roots if isinstance(value, Value)]
        seen: set[Value] = set()
        frontier = set()
        while stack:
            value = stack.pop()
            if value not in seen:
                seen.add(value)
                if value.late:
                    stack.extend(value.parts())
                else:
                    frontier.add(value)
        return sorted(frontier, key=lambda value: value.number)

    def _backward(self, available: dict[Value, Place]) -> Schedule:
        step = self.step
        wanted: list[Any] = [
            (0 if value is None else value, Place(f"d_before{at}", 0, width), width)
            for at, (value, width) in enumerate(zip(step.d_state, self.widths, strict=True))
        ]
        places = {value: place for value, place in available.items() if not place.buffer.startswith("d_after")}
        if step.d_sequence is not None:
            place = Place("d_sequence", 0, self.sequence_width)
            wanted.append((step.d_sequence, place, self.sequence_width))
        for node, values in step.totals.items():
            if len(values) == 2:
                left, right = (self._stored(value, places, wanted) for value in values)
                self.totals[node] = f"outer{len(self.outers)}"
                self.outers[self.totals[node]] = left, values[0].width, right, values[1].width
        sums = []
        names: dict[Value, str] = {}
        for node, values in step.totals.items():
            if len(values) == 1:
                (value,) = values
                if value not in names:
                    names[value] = f"total{len(names)}"
                    self.sums[names[value]] = value.width
                    sums.append((value, Place(names[value], 0, value.width)))
                self.totals[node] = names[value]
        return Schedule(step.builder, available, wanted, sums)

    def _stored(self, value: Value, places: dict[Value, Place], wanted: list[Any]) -> Place:
        if value not in places and value.name == "slice" and value.args[0] in places:
            return places[value.args[0]].shifted(value.details[0])
        if value not in places:
            name = f"rows{len(self.rows)}"
            self.rows[name] = value.width
            places[value] = Place(name, 0, value.width)
            wanted.append((value, places[value], value.width))
        return places[value]


LAYOUTS = 256
"""The most sizes whose layouts are remembered."""

VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default, torch.ops.aten.reshape.default)


class Evaluation:
    """Nodes of the graph as tensors: constants of the loop before it, and the gradients of weights after it."""

    def __init__(self, plan: Plan, weights: dict[str, Tensor]) -> None:
        self.plan, self.weights = plan, weights
        self.sums: dict[str, Tensor] = {}
        self.taken: set[str] = set()
        self.values: dict[fx.Node, Any] = {}

    def __call__(self, node: fx.Node) -> Any:
        if not self.values:
            self.values = {self.plan.trace.weights[name]: weight for name, weight in self.weights.items()}
            for total, name in self.plan.totals.items():
                if name in self.sums:
                    self.values[total] = self.sums[name].view(total.meta["val"].shape)
        base, transposed = source_of(node)  # what is transposed twice, or only named again
        node = node if transposed else base
        if node not in self.values:
            if node.op == "get_attr":
                self.values[node] = self.plan.trace.constants[str(node.target)]
            elif node.op == "placeholder":
                raise Untraceable(f"{node} is no weight")
            else:
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), self)
                self.values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return self.values[node]

    def constants(self, source: Source) -> list[Tensor]:
        """The constants of a pass. They have to be held as long as it runs, which knows their addresses alone."""
        return [self._constant(name).contiguous() for name in source.constants]

    def _constant(self, name: str) -> Tensor:
        if name in self.plan.literals:
            return self.plan.literals[name]
        if name in self.plan.aliases:
            return self.weights[self.plan.aliases[name]]
        constant: Tensor = self(self.plan.step.loop_constants[name])
        return constant

    def add(self, sums: dict[str, Tensor]) -> None:
        """Go on with the sums over all steps."""
        self.sums, self.values = sums, {}

    def gradient(self, name: str) -> Tensor | None:
        """The gradient of a weight; each has memory of its own."""
        node, total = self.plan.step.d_weights[name], self.plan.direct[name]
        if node is None:
            return None
        if total is None:
            gradient: Tensor = self(node)
            return gradient
        shared = total in self.taken
        self.taken.add(total)
        found = self.sums[total]
        return found.clone().view(self.weights[name].shape) if shared else found
