"""Matrix products for code that numba compiles: rows times a weight that stays the same for many steps.

    @numba.njit
    def run(h, weight, gates):                 # (steps, batch, hidden), (hidden, width), (steps, batch, width)
        packed = pack(weight)                  # once; or pack(weight.T)
        for t in range(len(h)):
            multiply(h[t], packed, gates[t], True)     # gates[t] += h[t] @ weight

A product of one step is small. A BLAS spends much of its time there on preparing: it copies the weight into panels
each time, and a call through torch costs more still. Here the copy is made once, and the products take panels:
the inner loop keeps a tile of the result in vector registers and reads the panel in order (K. Goto and R. A. van de
Geijn, Anatomy of high-performance matrix multiplication, 2008). One thread computes; threads may share out the rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic


def _registers() -> tuple[int, int]:
    """The bytes of a vector register of this processor, and the rows of a tile for which the registers suffice."""
    features = get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 8
    if features.get("avx"):
        return 32, 4
    return 16, 8 if features.get("neon") else 4


VECTOR, ROWS = _registers()
PANEL = 2 * VECTOR
"""The width of a panel in bytes."""


@njit
def pack(weight: Any) -> Any:
    """A matrix (depth, columns) as panels (count, depth, width), with zeros to the right of the last column."""
    depth, columns = weight.shape
    width = PANEL // weight.itemsize
    panels = np.zeros(((columns + width - 1) // width, depth, width), weight.dtype)
    for panel in range(len(panels)):
        first = panel * width
        count = min(width, columns - first)
        if weight.strides[0] < weight.strides[1]:  # a transposed matrix is read by columns
            for column in range(count):
                for row in range(depth):
                    panels[panel, row, column] = weight[row, first + column]
        elif count == width and weight.strides[1] == weight.itemsize:
            for row in range(depth):
                _copy(weight, row, first, panels, panel)  # type: ignore[call-arg]
        else:
            for row in range(depth):
                for column in range(count):
                    panels[panel, row, column] = weight[row, first + column]
    return panels


@njit
def multiply(a: Any, packed: Any, c: Any, accumulate: Any) -> None:
    """C = A @ B, or C += A @ B with `accumulate`, for a packed B.

    Args:
        a: (rows, depth).
        packed: from `pack` of a matrix (depth, columns).
        c: (rows, columns), which is written; it must not overlap with the others.
        accumulate: whether to add to what `c` holds. Otherwise that is not read.

    All are of one type, float32 or float64, with contiguous rows, which may be parts of longer ones. Sizes are not
    checked.
    """
    rows, columns = c.shape
    width = packed.shape[2]
    full = columns // width
    blocked = rows - rows % ROWS
    for panel in range(full):
        for row in range(0, blocked, ROWS):
            _block(a, row, packed, panel, c, row, panel * width, accumulate)
    row = blocked
    if rows - row >= 4:
        for panel in range(full):
            _four_rows(a, row, packed, panel, c, row, panel * width, accumulate)
        row += 4
    if rows - row >= 2:
        for panel in range(0, full - 1, 2):
            _two_rows_of_two(a, row, packed, panel, c, row, panel * width, accumulate)
        if full % 2:
            _two_rows(a, row, packed, full - 1, c, row, (full - 1) * width, accumulate)
        row += 2
    if row < rows:
        for panel in range(0, full - 3, 4):
            _row_of_four(a, row, packed, panel, c, row, panel * width, accumulate)
        for panel in range(full - full % 4, full):
            _row(a, row, packed, panel, c, row, panel * width, accumulate)
    if full < len(packed):
        _multiply_last(a, packed, c, accumulate)


@njit
def _multiply_last(a: Any, packed: Any, c: Any, accumulate: Any) -> None:
    """The same for the last panel, if it has fewer columns: through a tile that is wide enough."""
    rows, columns = c.shape
    last = len(packed) - 1
    first = last * packed.shape[2]
    tile = np.empty((ROWS, packed.shape[2]), c.dtype)
    row = 0
    while row < rows:
        count = ROWS if rows - row >= ROWS else 1
        if count == ROWS:
            _block(a, row, packed, last, tile, 0, 0, False)
        else:
            _row(a, row, packed, last, tile, 0, 0, False)
        for i in range(count):
            for j in range(columns - first):
                c[row + i, first + j] = tile[i, j] + (c[row + i, first + j] if accumulate else 0)
        row += count


def _tile(rows: int, panels: int = 1) -> Callable:
    """An intrinsic that computes a tile: some rows by some panels, with all its sums in registers.

    tile(a, a_row, packed, panel, c, c_row, c_column, accumulate)

    Sums do not wait for one another: there should be eight vectors of them or more, two for each row and panel.
    """

    def tile(typing, a, a_row, packed, panel, c, c_row, c_column, accumulate):  # type: ignore[no-untyped-def]
        if {a.dtype, packed.dtype, c.dtype} not in ({types.float32}, {types.float64}):
            raise TypingError(f"expected arrays of one type, float32 or float64, got {a}, {packed}, {c}")
        index = types.intp
        return types.void(a, index, packed, index, c, index, index, types.boolean), emit

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a_row, panel, c_row, c_column, accumulate = (arguments[place] for place in (1, 3, 5, 6, 7))
        a, packed, c = (
            context.make_array(signature.args[place])(context, builder, arguments[place]) for place in (0, 2, 4)
        )
        dtype = signature.args[0].dtype
        size, number, index = dtype.bitwidth // 8, context.get_value_type(dtype), a_row.type
        lanes = VECTOR // size
        vector = ir.VectorType(number, lanes)
        depth, between = builder.extract_value(a.shape, 1), builder.extract_value(a.strides, 1)

        def row_of(array: Any, row: Any) -> Any:
            distance = builder.mul(row, builder.extract_value(array.strides, 0))
            return cgutils.pointer_add(builder, array.data, distance)

        def vectors_at(pointer: Any, offset: Any, count: int) -> list[Any]:
            """Pointers to vectors side by side."""
            starts = [builder.gep(pointer, [builder.add(offset, index(lanes * place))]) for place in range(count)]
            return [builder.bitcast(start, vector.as_pointer()) for start in starts]

        a_rows = [row_of(a, builder.add(a_row, index(row))) for row in range(rows)]
        b_panels = [row_of(packed, builder.add(panel, index(place))) for place in range(panels)]
        targets = [
            pointer
            for row in range(rows)
            for pointer in vectors_at(row_of(c, builder.add(c_row, index(row))), c_column, 2 * panels)
        ]
        sums = [cgutils.alloca_once(builder, vector) for _ in targets]
        for pointer, total in zip(targets, sums, strict=True):
            builder.store(vector(None), total)
            with builder.if_then(accumulate):
                builder.store(builder.load(pointer, align=size), total)
        with cgutils.for_range(builder, depth) as loop:
            offset = builder.mul(loop.index, index(2 * lanes))
            b = [builder.load(pointer, align=size) for start in b_panels for pointer in vectors_at(start, offset, 2)]
            for row, start in enumerate(a_rows):
                place = cgutils.pointer_add(builder, start, builder.mul(loop.index, between))
                factor = _broadcast(builder, builder.load(place), vector)
                for total, other in zip(sums[row * len(b) :], b, strict=False):
                    product = builder.fmul(factor, other, flags=["contract"])
                    builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
        for pointer, total in zip(targets, sums, strict=True):
            builder.store(builder.load(total), pointer, align=size)
        return context.get_dummy_value()

    return intrinsic(tile)


@intrinsic
def _copy(typing, weight, row, column, packed, panel):  # type: ignore[no-untyped-def]
    """Copy as many columns of a row as a panel has."""
    index = types.intp

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row, column, panel = (arguments[place] for place in (1, 2, 4))
        source, target = (
            context.make_array(signature.args[place])(context, builder, arguments[place]) for place in (0, 3)
        )
        size = signature.args[0].dtype.bitwidth // 8
        vector = ir.VectorType(context.get_value_type(signature.args[0].dtype), VECTOR // size)

        def start(array: Any, *places: Any) -> Any:
            pointer = array.data
            for axis, place in enumerate(places):
                distance = builder.mul(place, builder.extract_value(array.strides, axis))
                pointer = cgutils.pointer_add(builder, pointer, distance)
            return builder.bitcast(pointer, vector.as_pointer())

        given, result = start(source, row, column), start(target, panel, row)
        for place in map(row.type, range(PANEL // VECTOR)):
            loaded = builder.load(builder.gep(given, [place]), align=size)
            builder.store(loaded, builder.gep(result, [place]), align=size)
        return context.get_dummy_value()

    return types.void(weight, index, index, packed, index), emit


def _broadcast(builder: Any, value: Any, vector: Any) -> Any:
    """The vector with this value in all places."""
    start = builder.insert_element(vector(ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(start, vector(ir.Undefined), ir.VectorType(ir.IntType(32), vector.count)(None))


_block, _four_rows, _two_rows, _row = _tile(ROWS), _tile(4), _tile(2), _tile(1)
_two_rows_of_two, _row_of_four = _tile(2, panels=2), _tile(1, panels=4)
