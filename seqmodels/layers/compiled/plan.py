"""A cell's forward and backward pass: what each computes, and what the forward pass keeps for the other.

The forward pass keeps states, products and the results of `EXPENSIVE` functions. The backward pass computes again what
is cheap. The gradient of a weight matrix is one product after the loop, of rows that are stored for all steps; that of
a vector is a sum after the loop, if its rows are stored anyway, or else in it.
"""

from typing import Any

import torch
from torch import Tensor, fx

from seqmodels.layers.compiled.codegen import Source
from seqmodels.layers.compiled.lower import Step, source_of
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
        self.literals = {
            name: torch.tensor([number], dtype=getattr(torch, dtype)) for name, number in step.literals.items()
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


class Evaluation:
    """Nodes of the graph as tensors: constants of the loop before it, and the gradients of weights after it."""

    def __init__(self, plan: Plan, weights: dict[str, Tensor]) -> None:
        self.plan = plan
        self.held: list[Tensor] = []
        """Constants whose memory is in use, as the loop knows their addresses alone."""
        self.values: dict[fx.Node, Any] = {
            node: weights[name] for name, node in plan.trace.weights.items() if name in weights
        }

    def __call__(self, node: fx.Node) -> Any:
        node = self._straight(node)
        if node not in self.values:
            if node.op == "get_attr":
                self.values[node] = self.plan.trace.constants[str(node.target)]
            elif node.op == "placeholder":
                raise Untraceable(f"{node} is no weight")
            else:
                args, kwargs = fx.node.map_arg((node.args, node.kwargs), self)
                self.values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        return self.values[node]

    def _straight(self, node: fx.Node) -> fx.Node:
        """What is transposed twice, or only named again."""
        base, transposed = source_of(node)
        return node if transposed else base

    def constant(self, name: str) -> Tensor:
        if name in self.plan.literals:
            return self.plan.literals[name]
        constant: Tensor = self(self.plan.step.loop_constants[name]).contiguous()
        self.held.append(constant)
        return constant
