"""From the recorded graph of a step to values.

Each node of the graph is one of

- a row: it has the batch as its first dimension, and is computed in the loop over time;
- a constant of the loop: it depends on weights alone, and torch computes it before the loop;
- a total: the gradient of a weight, summed over the batch by a product or a sum. Its sum over time is taken after the
  loop, and what follows is linear in it, as gradients are, so torch computes that after the loop, too.
"""

import math
import operator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

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


@dataclass(frozen=True)
class Transposed:
    """A row whose batch is its second dimension."""

    value: Value


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
            self.rows[node] = self.builder.make("input", (), (name,), width=_width(node))
        for place, node in enumerate(trace.d_after):
            self.rows[node] = self.builder.make("input", (), (f"d_after{place}",), width=_width(node), late=True)
        d_output = self.builder.make("input", (), ("d_output",), width=_width(trace.d_after[0]), late=True)
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
        return self.builder.make("copy", (number,), width=_width(node))

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
        elif _has_batch(node, self.trace.batch):
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
        if len({part.meta["val"].dim() for part in rows}) > 1 and _width(node) > 1:
            raise Untraceable("it adds a dimension by broadcasting")


def source_of(node: fx.Node) -> tuple[fx.Node, bool]:
    """The tensor that a node is a view of, and whether it is transposed."""
    transposed = False
    while node.target in (aten.alias.default, aten.detach.default, aten.t.default, aten.permute.default):
        transposed ^= node.target is aten.t.default or (node.target is aten.permute.default and node.args[1] == [1, 0])
        node = node.args[0]  # type: ignore[assignment]
    return node, transposed


def _width(node: fx.Node) -> int:
    shape = node.meta["val"].shape
    if len(shape) > 2:
        raise Untraceable(f"it makes a tensor of shape (batch, {', '.join(map(str, shape[1:]))})")
    return shape[1] if len(shape) == 2 else 1


def _has_batch(node: fx.Node, batch: int) -> bool:
    value = node.meta.get("val")
    return any(
        batch in part.shape
        for part in (value if isinstance(value, list | tuple) else [value])
        if isinstance(part, torch.Tensor)
    )


def _pointwise(name: str, boolean: bool = False) -> Any:
    return lambda lowering, node, *args: lowering.pointwise(node, name, *args, boolean=boolean)


def _scaled(name: str, reverse: bool = False) -> Any:
    """a + alpha b, and so on."""

    def rule(lowering: _Lowering, node: fx.Node, a: Any, b: Any, alpha: Number = 1) -> Any:
        b_value = lowering.row(b)
        if alpha != 1:
            b_value = lowering.builder.pointwise("mul", lowering.number(alpha), b_value)
        lowering.check_ranks(node)
        pair = (b_value, lowering.row(a)) if reverse else (lowering.row(a), b_value)
        return lowering.builder.pointwise(name, *pair)

    return rule


def _same(lowering: _Lowering, node: fx.Node, part: Any, *_: Any, **__: Any) -> Any:
    return lowering.rows[part]


def _view(lowering: _Lowering, node: fx.Node, part: Any, *_: Any, **__: Any) -> Any:
    shape, before = list(node.meta["val"].shape), list(part.meta["val"].shape)
    if (
        [size for size in shape if size != 1] != [size for size in before if size != 1]
        or len(shape) > 2
        or shape[0] != lowering.trace.batch
    ):
        raise Untraceable(f"it gives a tensor of shape (batch, {before[-1]}) the shape {tuple(shape)}")
    return lowering.row(part)


def _expand(lowering: _Lowering, node: fx.Node, part: Any, *_: Any, **__: Any) -> Any:
    value, width = lowering.row(part), _width(node)
    if node.meta["val"].dim() != part.meta["val"].dim():
        raise Untraceable("it adds a dimension by broadcasting")
    return (
        value
        if not isinstance(value, Value) or value.width == width
        else lowering.builder.make("copy", (value,), width=width)
    )


def _permute(lowering: _Lowering, node: fx.Node, part: Any, dims: Any = (1, 0), *_: Any) -> Any:
    if [dim % 2 for dim in dims] == [0, 1]:
        return lowering.rows[part]
    if part.meta["val"].dim() != 2:
        raise Untraceable("it transposes the batch")
    value = lowering.rows[part]
    return value.value if isinstance(value, Transposed) else Transposed(value)


def _mm(lowering: _Lowering, node: fx.Node, a: Any, b: Any) -> Any:
    left = lowering.rows.get(a)
    if isinstance(left, Transposed):
        right = lowering.row(b)
        if b not in lowering.rows or not isinstance(right, Value) or not isinstance(left.value, Value):
            raise Untraceable("it multiplies over the batch")
        return _total(lowering, node, left.value, right)
    if left is None:
        raise Untraceable("it multiplies over the batch")
    return lowering.product(lowering.row(a), b)


def _total(lowering: _Lowering, node: fx.Node, *values: Any) -> None:
    if not any(value.late for value in values):
        raise Untraceable("its sequences depend on one another")
    lowering.totals[node] = values


def _addmm(lowering: _Lowering, node: fx.Node, bias: Any, a: Any, b: Any, beta: Number = 1, alpha: Number = 1) -> Any:
    product: Any = lowering.product(lowering.row(a), b)
    make = lowering.builder.pointwise
    return make(
        "add", make("mul", lowering.number(beta), lowering.row(bias)), make("mul", lowering.number(alpha), product)
    )


def _dimensions(node: fx.Node, part: Any, dims: Any) -> set[int]:
    rank = part.meta["val"].dim()
    dims = list(range(rank)) if not dims and dims != 0 else ([dims] if isinstance(dims, int) else dims)
    return {dim % rank for dim in dims}


def _sum(lowering: _Lowering, node: fx.Node, part: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Any:
    over, value = _dimensions(node, part, dims), lowering.row(part)
    if not isinstance(value, Value):
        raise Untraceable("it sums a constant")
    if 0 in over:
        return _total(lowering, node, value if over == {0} else lowering.builder.reduce("sum", value))
    return lowering.builder.reduce("sum", value)


def _mean(lowering: _Lowering, node: fx.Node, part: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Any:
    if 0 in _dimensions(node, part, dims):
        raise Untraceable("its sequences depend on one another")
    total = _sum(lowering, node, part, dims)
    return lowering.builder.pointwise("div", total, lowering.number(_width(part)))


def _amax(lowering: _Lowering, node: fx.Node, part: Any, dims: Any = (), keepdim: bool = False) -> Any:
    value = lowering.row(part)
    if _dimensions(node, part, dims) != {1} or not isinstance(value, Value):
        raise Untraceable("its sequences depend on one another")
    return lowering.builder.reduce("max", value)


def _slice(
    lowering: _Lowering, node: fx.Node, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    size = part.meta["val"].shape[dim]
    first, last, _ = slice(start, end).indices(size)
    if dim % part.meta["val"].dim() == 0 and (first, last) == (0, size):
        return lowering.rows[part]
    value = lowering.row(part)
    if step != 1 or dim % 2 != 1:
        raise Untraceable("it takes some of the batch, or every other feature")
    return lowering.builder.slice(value, first, last - first) if isinstance(value, Value) else value


def _split(lowering: _Lowering, node: fx.Node, part: Any, sizes: Any, dim: int = 0) -> Any:
    value, width = lowering.row(part), part.meta["val"].shape[-1]
    if part.meta["val"].dim() != 2 or dim % 2 != 1:
        raise Untraceable("it takes some of the batch")
    sizes = [sizes] * (width // sizes) + [width % sizes] * (width % sizes > 0) if isinstance(sizes, int) else sizes
    starts = [sum(sizes[:count]) for count in range(len(sizes))]
    return [
        lowering.builder.slice(value, start, size) if isinstance(value, Value) else value
        for start, size in zip(starts, sizes, strict=True)
    ]


def _select(lowering: _Lowering, node: fx.Node, part: Any, dim: int, index: int) -> Any:
    value = lowering.row(part)
    if dim % part.meta["val"].dim() != 1 or not isinstance(value, Value):
        raise Untraceable("it takes some of the batch")
    return lowering.builder.slice(value, index % value.width, 1)


def _cat(lowering: _Lowering, node: fx.Node, parts: Any, dim: int = 0) -> Any:
    if node.meta["val"].dim() != 2 or dim % 2 != 1:
        raise Untraceable("it joins along the batch")
    if any(part not in lowering.rows for part in parts):
        raise Untraceable("it joins rows with weights")
    return lowering.builder.cat([lowering.row(part) for part in parts], [_width(part) for part in parts])


def _pad(lowering: _Lowering, node: fx.Node, part: Any, padding: Any, fill: Number = 0) -> Any:
    if any(padding[2:]) or min(padding) < 0:
        raise Untraceable("it pads the batch")
    left, right = padding[0], padding[1]
    parts = [(fill, left), (lowering.row(part), _width(part)), (fill, right)]
    kept = [pair for pair in parts if pair[1] > 0]
    return lowering.builder.cat([value for value, _ in kept], [width for _, width in kept])


def _variance(lowering: _Lowering, node: fx.Node, part: Any, dims: Any = None, correction: Any = 1, **_: Any) -> Any:
    value, make = lowering.row(part), lowering.builder.pointwise
    if _dimensions(node, part, dims) != {1} or not isinstance(value, Value):
        raise Untraceable("its sequences depend on one another")
    mean = make("div", lowering.builder.reduce("sum", value), lowering.number(value.width))
    centred = make("sub", value, mean)
    squares: Any = make("mul", centred, centred)
    return make("div", lowering.builder.reduce("sum", squares), lowering.number(max(value.width - correction, 0)))


def _slice_scatter(
    lowering: _Lowering,
    node: fx.Node,
    whole: Any,
    part: Any,
    dim: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> Any:
    width = _width(node)
    first, last, _ = slice(start, end).indices(part.meta["val"].shape[dim] if dim == 0 else width)
    if dim % 2 == 0 and (first, last) == (0, lowering.trace.batch):
        return lowering.row(part)
    if dim % 2 != 1 or step != 1:
        raise Untraceable("it writes some of the batch")
    value, make = lowering.row(whole), lowering.builder.slice
    edges = [(0, first), (last, width)]
    left, right = (make(value, a, b - a) if isinstance(value, Value) and b > a else value for a, b in edges)
    parts = [(left, first), (lowering.row(part), last - first), (right, width - last)]
    kept = [pair for pair in parts if pair[1] > 0]
    return lowering.builder.cat([value for value, _ in kept], [size for _, size in kept])


def _overwrite(lowering: _Lowering, target: fx.Node) -> None:
    """Nothing may read a tensor that is overwritten, or a view of it, afterwards."""
    if target.target not in FRESH or any(
        user.target not in FRESH for user in target.users if user.target not in WRITING
    ):
        raise Untraceable("it changes a tensor in place")
    lowering.overwritten.add(target)


def _in_place(name: str) -> Any:
    def rule(lowering: _Lowering, node: fx.Node, target: fx.Node, other: Any) -> Any:
        _overwrite(lowering, target)
        return lowering.pointwise(node, name, target, other, boolean=True)

    return rule


def _copy(lowering: _Lowering, node: fx.Node, target: fx.Node, source: Any, *_: Any) -> Any:
    _overwrite(lowering, target)
    value = lowering.row(source)
    return (
        value
        if not isinstance(value, Value) or value.width == _width(node)
        else lowering.builder.make("copy", (value,), width=_width(node))
    )


def _clamp(lowering: _Lowering, node: fx.Node, part: Any, low: Any = None, high: Any = None) -> Any:
    value = lowering.row(part)
    value = value if low is None else lowering.builder.pointwise("maximum", value, lowering.row(low))
    return value if high is None else lowering.builder.pointwise("minimum", value, lowering.row(high))


def _power(lowering: _Lowering, node: fx.Node, part: Any, exponent: Any) -> Any:
    value, make = lowering.row(part), lowering.builder.pointwise
    if exponent in (2, 3):
        square = make("mul", value, value)
        return square if exponent == 2 else make("mul", square, value)
    simple = {1: "copy", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
    if exponent not in simple:
        raise Untraceable(f"it raises to the power {exponent}")
    return make(simple[exponent], value)


def _layer_norm(lowering: _Lowering, node: fx.Node, part: Any, shape: Any, gain: Any, bias: Any, eps: float) -> Any:
    value, make = lowering.row(part), lowering.builder.pointwise
    if len(shape) != 1 or not isinstance(value, Value):
        raise Untraceable("it normalises over the batch")
    size = lowering.number(value.width)
    mean = make("div", lowering.builder.reduce("sum", value), size)
    centred = make("sub", value, mean)
    variance = make("div", lowering.builder.reduce("sum", make("mul", centred, centred)), size)  # type: ignore[arg-type]
    scale = make("rsqrt", make("add", variance, lowering.number(eps)))
    result = make("mul", centred, scale)
    result = result if gain is None else make("mul", result, lowering.row(gain))
    return [result if bias is None else make("add", result, lowering.row(bias)), mean, scale]


def _getitem(lowering: _Lowering, node: fx.Node, parts: fx.Node, index: int) -> Any:
    return lowering.rows[parts][index]


def _zeros(lowering: _Lowering, node: fx.Node, *_: Any, **__: Any) -> Any:
    lowering.constant(node)


SMALL = frozenset((0, 1, 2, -1, -2, 3, 4))
ONES = {aten.ones_like.default: 1, aten.new_ones.default: 1}
ZEROS = (
    *(aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.new_zeros.default),
    *(aten.new_ones.default, aten.zeros.default, aten.empty_like.default, aten.new_empty.default),
)
POINTWISE = ("mul", "div", "maximum", "minimum")
UNARY = (
    *("neg", "abs", "sign", "exp", "expm1", "log", "log1p", "sigmoid", "tanh", "relu", "sqrt", "rsqrt", "reciprocal"),
    *("sin", "cos", "erf"),
)
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
LOGICAL = ("logical_and", "logical_or", "bitwise_and", "bitwise_or")

RULES: dict[Any, Any] = {
    operator.getitem: _getitem,
    aten.add.Tensor: _scaled("add"),
    aten.add.Scalar: _scaled("add"),
    aten.sub.Tensor: _scaled("sub"),
    aten.sub.Scalar: _scaled("sub"),
    aten.rsub.Scalar: _scaled("sub", reverse=True),
    aten.where.self: _pointwise("where"),
    aten.where.ScalarSelf: _pointwise("where"),
    aten.where.ScalarOther: _pointwise("where"),
    aten.logical_not.default: _pointwise("logical_not", boolean=True),
    aten.bitwise_not.default: _pointwise("logical_not", boolean=True),
    aten.clamp.default: _clamp,
    aten.clamp_min.default: lambda lowering, node, part, low: _clamp(lowering, node, part, low),
    aten.clamp_max.default: lambda lowering, node, part, high: _clamp(lowering, node, part, None, high),
    aten.pow.Tensor_Scalar: _power,
    aten.mm.default: _mm,
    aten.addmm.default: _addmm,
    aten.sum.dim_IntList: _sum,
    aten.sum.default: _sum,
    aten.mean.dim: _mean,
    aten.mean.default: _mean,
    aten.amax.default: _amax,
    aten.var.correction: _variance,
    aten.slice.Tensor: _slice,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: _split,
    aten.select.int: _select,
    aten.cat.default: _cat,
    aten.constant_pad_nd.default: _pad,
    aten.slice_scatter.default: _slice_scatter,
    aten.native_layer_norm.default: _layer_norm,
    aten.copy_.default: _copy,
    aten.logical_and_.default: _in_place("logical_and"),
    aten.logical_or_.default: _in_place("logical_or"),
    aten.permute.default: _permute,
    aten.t.default: _permute,
    aten.expand.default: _expand,
    **dict.fromkeys(ZEROS, _zeros),
    **dict.fromkeys((aten.view.default, aten._unsafe_view.default, aten.reshape.default), _view),
    **dict.fromkeys((aten.unsqueeze.default, aten.squeeze.dim, aten.squeeze.dims), _view),
    **dict.fromkeys((aten.alias.default, aten.detach.default, aten.clone.default), _same),
    **{getattr(aten, name).default: _pointwise(name) for name in UNARY},
    **{
        operation: _pointwise(name)
        for name in POINTWISE
        for operation in map(getattr(aten, name).__getattr__, getattr(aten, name).overloads())
        if "out" not in str(operation) and "mode" not in str(operation)
    },
    **{
        getattr(getattr(aten, name), kind): _pointwise(name, True)
        for name in COMPARISONS
        for kind in ("Tensor", "Scalar")
    },
    **{
        aten.logical_and.default: _pointwise("logical_and", True),
        aten.logical_or.default: _pointwise("logical_or", True),
    },
    **{
        aten.bitwise_and.Tensor: _pointwise("logical_and", True),
        aten.bitwise_or.Tensor: _pointwise("logical_or", True),
    },
}
"""What each operation of torch is in terms of values. A rule gets the lowering, the node and the node's arguments."""

WRITING = (aten.copy_.default, aten.logical_and_.default, aten.logical_or_.default)
FRESH = frozenset(
    operation
    for operation, rule in RULES.items()
    if operation is not operator.getitem and rule not in (_same, _view, _permute, _expand, _slice, _split, _select)
) - {*WRITING}
"""Operations whose result shares no memory with another tensor."""
