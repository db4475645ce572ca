"""What each operation of torch is in terms of values.

A rule gets the lowering (see `lower.py`), the node, and the arguments of the node. It returns the value of the node, or
None for a total.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from seqmodels.layers.compiled.trace import Untraceable
from seqmodels.layers.compiled.values import Number, Value

aten = torch.ops.aten


@dataclass(frozen=True)
class Transposed:
    """A row whose batch is its second dimension."""

    value: Value


def source_of(node: fx.Node) -> tuple[fx.Node, bool]:
    """The tensor that a node is a view of, and whether it is transposed."""
    transposed = False
    while node.target in (aten.alias.default, aten.detach.default, aten.t.default, aten.permute.default):
        transposed ^= node.target is aten.t.default or (node.target is aten.permute.default and node.args[1] == [1, 0])
        node = node.args[0]  # type: ignore[assignment]
    return node, transposed


def width_of(node: fx.Node) -> int:
    shape = node.meta["val"].shape
    if len(shape) > 2:
        raise Untraceable(f"it makes a tensor of shape (batch, {', '.join(map(str, shape[1:]))})")
    return shape[1] if len(shape) == 2 else 1


def has_batch(node: fx.Node, batch: int) -> bool:
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

    def rule(lowering: Any, node: fx.Node, a: Any, b: Any, alpha: Number = 1) -> Any:
        b_value = lowering.row(b)
        if node.meta["val"].dtype == torch.bool:
            raise Untraceable("it adds truth values")
        if alpha != 1:
            b_value = lowering.builder.pointwise("mul", lowering.number(alpha), b_value)
        lowering.check_ranks(node)
        pair = (b_value, lowering.row(a)) if reverse else (lowering.row(a), b_value)
        return lowering.builder.pointwise(name, *pair)

    return rule


def _same(lowering: Any, node: fx.Node, part: Any, *_: Any, **__: Any) -> Any:
    return lowering.rows[part]


def _view(lowering: Any, node: fx.Node, part: Any, *_: Any, **__: Any) -> Any:
    shape, before = list(node.meta["val"].shape), list(part.meta["val"].shape)
    if (
        [size for size in shape if size != 1] != [size for size in before if size != 1]
        or len(shape) > 2
        or shape[0] != lowering.trace.batch
    ):
        raise Untraceable(f"it gives a tensor of shape (batch, {before[-1]}) the shape {tuple(shape)}")
    return lowering.row(part)


def _expand(lowering: Any, node: fx.Node, part: Any, *_: Any, **__: Any) -> Any:
    value, width = lowering.row(part), width_of(node)
    if node.meta["val"].dim() != part.meta["val"].dim():
        raise Untraceable("it adds a dimension by broadcasting")
    return (
        value
        if not isinstance(value, Value) or value.width == width
        else lowering.builder.make("copy", (value,), width=width)
    )


def _permute(lowering: Any, node: fx.Node, part: Any, dims: Any = (1, 0), *_: Any) -> Any:
    if [dim % 2 for dim in dims] == [0, 1]:
        return lowering.rows[part]
    if part.meta["val"].dim() != 2:
        raise Untraceable("it transposes the batch")
    value = lowering.rows[part]
    return value.value if isinstance(value, Transposed) else Transposed(value)


def _mm(lowering: Any, node: fx.Node, a: Any, b: Any) -> Any:
    left = lowering.rows.get(a)
    if isinstance(left, Transposed):
        right = lowering.row(b)
        if b not in lowering.rows or not isinstance(right, Value) or not isinstance(left.value, Value):
            raise Untraceable("it multiplies over the batch")
        return _total(lowering, node, left.value, right)
    if left is None:
        raise Untraceable("it multiplies over the batch")
    return lowering.product(lowering.row(a), b)


def _total(lowering: Any, node: fx.Node, *values: Any) -> None:
    if not any(value.late for value in values):
        raise Untraceable("its sequences depend on one another")
    lowering.totals[node] = values


def _addmm(lowering: Any, node: fx.Node, bias: Any, a: Any, b: Any, beta: Number = 1, alpha: Number = 1) -> Any:
    product: Any = lowering.product(lowering.row(a), b)
    make = lowering.builder.pointwise
    return make(
        "add", make("mul", lowering.number(beta), lowering.row(bias)), make("mul", lowering.number(alpha), product)
    )


def _dimensions(node: fx.Node, part: Any, dims: Any) -> set[int]:
    rank = part.meta["val"].dim()
    dims = list(range(rank)) if not dims and dims != 0 else ([dims] if isinstance(dims, int) else dims)
    return {dim % rank for dim in dims}


def _sum(lowering: Any, node: fx.Node, part: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Any:
    over, value = _dimensions(node, part, dims), lowering.row(part)
    if not isinstance(value, Value):
        raise Untraceable("it sums a constant")
    if 0 in over:
        return _total(lowering, node, value if over == {0} else lowering.builder.reduce("sum", value))
    return lowering.builder.reduce("sum", value)


def _mean(lowering: Any, node: fx.Node, part: Any, dims: Any = None, keepdim: bool = False, **_: Any) -> Any:
    if 0 in _dimensions(node, part, dims):
        raise Untraceable("its sequences depend on one another")
    total = _sum(lowering, node, part, dims)
    return lowering.builder.pointwise("div", total, lowering.number(width_of(part)))


def _amax(lowering: Any, node: fx.Node, part: Any, dims: Any = (), keepdim: bool = False) -> Any:
    value = lowering.row(part)
    if _dimensions(node, part, dims) != {1} or not isinstance(value, Value):
        raise Untraceable("its sequences depend on one another")
    return lowering.builder.reduce("max", value)


def _slice(
    lowering: Any, node: fx.Node, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    size = part.meta["val"].shape[dim]
    first, last, _ = slice(start, end).indices(size)
    if dim % part.meta["val"].dim() == 0 and (first, last) == (0, size):
        return lowering.rows[part]
    value = lowering.row(part)
    if step != 1 or dim % 2 != 1:
        raise Untraceable("it takes some of the batch, or every other feature")
    return lowering.builder.slice(value, first, last - first) if isinstance(value, Value) else value


def _split(lowering: Any, node: fx.Node, part: Any, sizes: Any, dim: int = 0) -> Any:
    value, width = lowering.row(part), part.meta["val"].shape[-1]
    if part.meta["val"].dim() != 2 or dim % 2 != 1:
        raise Untraceable("it takes some of the batch")
    sizes = [sizes] * (width // sizes) + [width % sizes] * (width % sizes > 0) if isinstance(sizes, int) else sizes
    starts = [sum(sizes[:count]) for count in range(len(sizes))]
    return [
        lowering.builder.slice(value, start, size) if isinstance(value, Value) else value
        for start, size in zip(starts, sizes, strict=True)
    ]


def _select(lowering: Any, node: fx.Node, part: Any, dim: int, index: int) -> Any:
    value = lowering.row(part)
    if dim % part.meta["val"].dim() != 1 or not isinstance(value, Value):
        raise Untraceable("it takes some of the batch")
    return lowering.builder.slice(value, index % value.width, 1)


def _cat(lowering: Any, node: fx.Node, parts: Any, dim: int = 0) -> Any:
    if node.meta["val"].dim() != 2 or dim % 2 != 1:
        raise Untraceable("it joins along the batch")
    if any(part not in lowering.rows for part in parts):
        raise Untraceable("it joins rows with weights")
    return lowering.builder.cat([lowering.row(part) for part in parts], [width_of(part) for part in parts])


def _pad(lowering: Any, node: fx.Node, part: Any, padding: Any, fill: Number = 0) -> Any:
    if any(padding[2:]):
        raise Untraceable("it pads the batch")
    left, right = padding[0], padding[1]
    value, first, last = lowering.row(part), max(0, -left), width_of(part) - max(0, -right)  # a negative one cuts off
    if isinstance(value, Value) and (first, last) != (0, value.width):
        value = lowering.builder.slice(value, first, last - first)
    parts = [(fill, left), (value, last - first), (fill, right)]
    kept = [pair for pair in parts if pair[1] > 0]
    return lowering.builder.cat([value for value, _ in kept], [width for _, width in kept])


def _variance(lowering: Any, node: fx.Node, part: Any, dims: Any = None, correction: Any = 1, **_: Any) -> Any:
    value, make = lowering.row(part), lowering.builder.pointwise
    if _dimensions(node, part, dims) != {1} or not isinstance(value, Value):
        raise Untraceable("its sequences depend on one another")
    mean = make("div", lowering.builder.reduce("sum", value), lowering.number(value.width))
    centred = make("sub", value, mean)
    squares: Any = make("mul", centred, centred)
    return make("div", lowering.builder.reduce("sum", squares), lowering.number(max(value.width - correction, 0)))


def _slice_scatter(
    lowering: Any,
    node: fx.Node,
    whole: Any,
    part: Any,
    dim: int = 0,
    start: Any = None,
    end: Any = None,
    step: int = 1,
) -> Any:
    width = width_of(node)
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


def _overwrite(lowering: Any, target: fx.Node) -> None:
    """Nothing may read a tensor that is overwritten, or a view of it, afterwards."""
    if target.target not in FRESH or any(
        user.target not in FRESH for user in target.users if user.target not in WRITING
    ):
        raise Untraceable("it changes a tensor in place")
    lowering.overwritten.add(target)


def _in_place(name: str) -> Any:
    def rule(lowering: Any, node: fx.Node, target: fx.Node, other: Any) -> Any:
        _overwrite(lowering, target)
        return lowering.pointwise(node, name, target, other, boolean=True)

    return rule


def _copy(lowering: Any, node: fx.Node, target: fx.Node, source: Any, *_: Any) -> Any:
    _overwrite(lowering, target)
    value = lowering.row(source)
    return (
        value
        if not isinstance(value, Value) or value.width == width_of(node)
        else lowering.builder.make("copy", (value,), width=width_of(node))
    )


def _clamp(lowering: Any, node: fx.Node, part: Any, low: Any = None, high: Any = None) -> Any:
    value = lowering.row(part)
    value = value if low is None else lowering.builder.pointwise("maximum", value, lowering.row(low))
    return value if high is None else lowering.builder.pointwise("minimum", value, lowering.row(high))


def _power(lowering: Any, node: fx.Node, part: Any, exponent: Any) -> Any:
    value, make = lowering.row(part), lowering.builder.pointwise
    if exponent in (2, 3):
        square = make("mul", value, value)
        return square if exponent == 2 else make("mul", square, value)
    simple = {1: "copy", 0.5: "sqrt", -0.5: "rsqrt", -1: "reciprocal"}
    if exponent not in simple:
        raise Untraceable(f"it raises to the power {exponent}")
    return make(simple[exponent], value)


def _layer_norm(lowering: Any, node: fx.Node, part: Any, shape: Any, gain: Any, bias: Any, eps: float) -> Any:
    value, make = lowering.row(part), lowering.builder.pointwise
    if len(shape) != 1 or not isinstance(value, Value):
        raise Untraceable("it normalises over the batch")
    size = lowering.number(value.width)
    mean = make("div", lowering.builder.reduce("sum", value), size)
    centred = make("sub", value, mean)
    variance = make("div", lowering.builder.reduce("sum", make("mul", centred, centred)), size)
    scale = make("rsqrt", make("add", variance, lowering.number(eps)))
    result = make("mul", centred, scale)
    result = result if gain is None else make("mul", result, lowering.row(gain))
    return [result if bias is None else make("add", result, lowering.row(bias)), mean, scale]


def _getitem(lowering: Any, node: fx.Node, parts: fx.Node, index: int) -> Any:
    return lowering.rows[parts][index]


def _zeros(lowering: Any, node: fx.Node, *_: Any, **__: Any) -> Any:
    lowering.constant(node)


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
