"""From the recorded graph of a step to values.

Each node of the graph is one of

- a row: it has the batch as its first dimension, and is computed in the loop over time;
- a constant of the loop: it depends on weights alone, and torch computes it before the loop;
- a total: the gradient of a weight, summed over the batch by a product or a sum. Its sum over time is taken after the
  loop, and what follows is linear in it, as gradients are, so torch computes that after the loop, too.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

from seqmodels.layers.compiled.rules import ONES, RULES, ZEROS, Transposed, has_batch, source_of, width_of
from seqmodels.layers.compiled.trace import Trace, Untraceable
from seqmodels.layers.compiled.values import Builder, Number, Value

aten = torch.ops.aten


@dataclass
class Step:
    """A step as values. `totals` maps nodes to the two factors of a product, or the one row, that is summed."""

    after: list[Value]
    d_sequence: Value | Number | None
    d_state: list[Value | Number | None]
    totals: dict[fx.Node, tuple[Value, ...]]
    d_weights: dict[str, fx.Node | None]
    loop_constants: dict[str, fx.Node]
    literals: dict[str, float]
    """Constants of the loop that are numbers, by name. They may depend on sizes, so they are no part of the code."""
    builder: Builder = field(repr=False)


def lower(trace: Trace) -> Step:
    """The values of a step.

    Raises:
        Untraceable: an operation is not among those that can be compiled.
    """
    return _Lowering(trace).step()


class _Lowering:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.builder = Builder()
        self.rows: dict[fx.Node, Any] = {}
        self.totals: dict[fx.Node, tuple[Value, ...]] = {}
        self.after_totals: set[fx.Node] = set()
        self.loop_constants: dict[str, fx.Node] = {}
        self.literals: dict[str, float] = {}
        self.overwritten: set[fx.Node] = set()

    def step(self) -> Step:
        trace = self.trace
        inputs = {trace.sequence: "sequence"}
        inputs |= {node: f"before{place}" for place, node in enumerate(trace.state)}
        for node, name in inputs.items():
            self.rows[node] = self.builder.make("input", (), (name,), width=width_of(node))
        for place, node in enumerate(trace.d_after):
            self.rows[node] = self.builder.make("input", (), (f"d_after{place}",), width=width_of(node), late=True)
        d_output = self.builder.make("input", (), ("d_output",), width=width_of(trace.d_after[0]), late=True)
        self.rows[trace.d_after[0]] = self.builder.pointwise("add", self.rows[trace.d_after[0]], d_output)
        for node in trace.nodes:
            if node.op == "get_attr" and any(user.target is not aten.lift_fresh_copy.default for user in node.users):
                raise Untraceable("it uses a tensor that is not among its arguments")
            if node.op == "call_function":
                self.visit(node)
        after = [self.row(node) for node in trace.after]
        for node in trace.d_weights.values():  # type: ignore[assignment]
            if node is not None and node in self.rows:
                raise Untraceable("the gradient of a weight has a batch")
        return Step(
            after=[
                value if isinstance(value, Value) else self.filled(value, node)
                for value, node in zip(after, trace.after, strict=True)
            ],
            d_sequence=None if trace.d_sequence is None else self.row(trace.d_sequence),
            d_state=[None if node is None else self.row(node) for node in trace.d_state],
            totals=self.totals,
            d_weights=trace.d_weights,
            loop_constants=self.loop_constants,
            literals=self.literals,
            builder=self.builder,
        )

    def filled(self, number: Number, node: fx.Node) -> Value:
        return self.builder.make("copy", (number,), width=width_of(node))

    def visit(self, node: fx.Node) -> None:
        if any(part in self.overwritten for part in node.all_input_nodes):
            raise Untraceable("it changes a tensor in place")
        given = [part for part in node.all_input_nodes if part in self.rows]
        if any(part in self.totals or part in self.after_totals for part in node.all_input_nodes):
            if given:
                raise Untraceable("its sequences depend on one another")
            self.after_totals.add(node)
        elif given:
            self.check(node)
            rule = RULES.get(node.target)
            if rule is None:
                raise Untraceable(f"{node.target} is not among the operations that can be compiled")
            result = rule(self, node, *node.args, **node.kwargs)
            if result is not None:
                self.rows[node] = result
        elif node.target in (aten.full.default, aten.scalar_tensor.default, *ZEROS):
            self.constant(node)
        elif has_batch(node, self.trace.batch):
            raise Untraceable(f"{node.target} makes a tensor with a batch")

    def constant(self, node: Any) -> None:
        """A tensor of one number stands for the number."""
        filled = {aten.full.default: 1, aten.full_like.default: 1, aten.scalar_tensor.default: 0}
        number = node.args[filled[node.target]] if node.target in filled else ONES.get(node.target, 0)
        shape = list(node.meta["val"].shape)
        if not shape or shape[0] == self.trace.batch:
            self.rows[node] = self.number(number)

    def check(self, node: fx.Node) -> None:
        """Rows are (batch, width), and have the dtype of the step, or are the results of comparisons."""
        if isinstance(node.meta["val"], list | tuple) or node.target is aten.mm.default:
            return
        value = node.meta["val"]
        if value.dtype not in (self.trace.sequence.meta["val"].dtype, torch.bool, torch.int64):
            raise Untraceable(f"it computes in {value.dtype}")

    def number(self, number: Any) -> Number | Value:
        """A number, as a constant of the loop where it may be a size."""
        if isinstance(number, bool) or (isinstance(number, int | float) and (number in SMALL or number % 1 != 0)):
            return number
        if not isinstance(number, int | float):
            raise Untraceable(f"expected a number, got {number}")
        if not math.isfinite(number):
            return number
        name = f"number_{len(self.literals)}"
        for known, other in self.literals.items():
            name = known if other == number else name
        self.literals[name] = float(number)
        return self.builder.make("vector", (), (name, 0), width=1)

    def row(self, part: Any) -> Value | Number:
        """The value of an argument: a row, a vector of the weights, or a number."""
        if not isinstance(part, fx.Node):
            return self.number(part)
        if part in self.rows:
            value = self.rows[part]
            if isinstance(value, Transposed):
                raise Untraceable("it transposes the batch")
            return value
        shape = list(part.meta["val"].shape)
        if any(size != 1 for size in shape[:-1]) or part in self.totals or part in self.after_totals:
            raise Untraceable(f"it uses a weight of shape {tuple(shape)} other than in a product")
        part, _ = source_of(part)
        if part.meta["val"].dtype != self.trace.sequence.meta["val"].dtype:
            raise Untraceable(f"it uses a constant of {part.meta['val'].dtype}")
        self.loop_constants[part.name] = part
        return self.builder.make("vector", (), (part.name, 0), width=shape[-1] if shape else 1)

    def product(self, row: Value | Number, matrix: fx.Node) -> Value:
        if not isinstance(row, Value) or not isinstance(matrix, fx.Node) or matrix in self.rows:
            raise Untraceable("it multiplies rows with rows")
        width = matrix.meta["val"].shape[1]
        matrix, transposed = source_of(matrix)
        self.loop_constants[matrix.name] = matrix
        return self.builder.make("product", (row,), (matrix.name, transposed), width=width)

    def pointwise(self, node: fx.Node, name: str, *args: Any, boolean: bool = False) -> Any:
        """Rows of one number for each sequence are (batch, 1), never (batch,), where they meet wider ones."""
        self.check_ranks(node)
        return self.builder.pointwise(name, *(self.row(part) for part in args), boolean=boolean)

    def check_ranks(self, node: fx.Node) -> None:
        rows = [part for part in node.all_input_nodes if isinstance(self.rows.get(part), Value)]
        if len({part.meta["val"].dim() for part in rows}) > 1 and width_of(node) > 1:
            raise Untraceable("it adds a dimension by broadcasting")


SMALL = frozenset((0, 1, 2, -1, -2, 3, 4))
"""Whole numbers that are no sizes, or so small that a size may be mistaken for them."""
