"""Matrix products for code that numba compiles, by the address of a BLAS routine.

    address = product_address(np.float32)   # once, outside

    @numba.njit(cache=True)
    def step(address, h, weight, gates):
        gemm(address, h, weight, gates, False, True, True)   # gates += h @ weight.T

The address is an argument at run time, since code that is cached on disk cannot hold one.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import get_cython_function_address, intrinsic

ROUTINES = {np.float32: "sgemm", np.float64: "dgemm"}


@functools.cache
def product_address(dtype: type) -> int:
    """The address of BLAS's general matrix product for np.float32 or np.float64.

    It is that of the MKL in torch, which follows `torch.set_num_threads`, where the library shows it (on Linux, x86);
    elsewhere that of scipy.

    Raises:
        KeyError: for any other type.
    """
    name = ROUTINES[np.dtype(dtype).type]
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        address = ctypes.cast(getattr(library, name + "_"), ctypes.c_void_p).value
    except (OSError, AttributeError):
        address = None
    return address or get_cython_function_address("scipy.linalg.cython_blas", name)


@intrinsic
def gemm(typing: Any, address: Any, a: Any, b: Any, c: Any, transpose_a: Any, transpose_b: Any, accumulate: Any) -> Any:
    """C = A @ B, or C += A @ B, of arrays with contiguous rows; A or B may be given transposed.

    gemm(address, a, b, c, transpose_a, transpose_b, accumulate):

    Args:
        address: from `product_address` for the type of the arrays.
        a: (m, k), or (k, m) with `transpose_a`.
        b: (k, n), or (n, k) with `transpose_b`.
        c: (m, n), which is written; it must not overlap with the others.
        accumulate: whether to add to what `c` holds. Otherwise that is not read.

    All three are two-dimensional arrays of one type, float32 or float64. A row may be part of a longer one. Sizes are
    not checked. Sizes and strides must fit 32 bits.
    """
    kinds = {array.dtype for array in (a, b, c)}
    if any(array.ndim != 2 for array in (a, b, c)) or kinds not in ({types.float32}, {types.float64}):
        raise TypingError(f"expected matrices of one type, float32 or float64, got {a}, {b}, {c}")
    signature = types.void(types.intp, a, b, c, types.boolean, types.boolean, types.boolean)
    return signature, _emit_call


def _emit_call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """BLAS stores columns: what it computes is C^T = B^T A^T. All its arguments are passed by reference."""
    address, *arrays, transpose_a, transpose_b, accumulate = arguments
    kind = context.get_value_type(signature.args[1].dtype)
    integer, letter = ir.IntType(32), ir.IntType(8)
    a, b, c = (
        context.make_array(array)(context, builder, value)
        for array, value in zip(signature.args[1:4], arrays, strict=True)
    )

    def reference(value: Any) -> Any:
        slot = cgutils.alloca_once(builder, value.type)
        builder.store(value, slot)
        return slot

    def size(array: Any, axis: int) -> Any:
        return builder.trunc(builder.extract_value(array.shape, axis), integer)

    def leading(array: Any) -> Any:
        """The distance of two rows; that of a single row may be anything, but BLAS asks for the length at least."""
        distance = builder.trunc(builder.sdiv(builder.extract_value(array.strides, 0), array.itemsize), integer)
        length = size(array, 1)
        return builder.select(builder.icmp_signed(">", distance, length), distance, length)

    def flag(transposed: Any) -> Any:
        return builder.select(transposed, letter(ord("T")), letter(ord("N")))

    depth = builder.select(transpose_a, size(a, 0), size(a, 1))
    beta = builder.select(accumulate, kind(1), kind(0))
    passed = [
        *(flag(transpose_b), flag(transpose_a), size(c, 1), size(c, 0), depth, kind(1)),
        *(b.data, leading(b), a.data, leading(a), beta, c.data, leading(c)),
    ]
    passed = [value if isinstance(value.type, ir.PointerType) else reference(value) for value in passed]
    routine = ir.FunctionType(ir.VoidType(), [value.type for value in passed])
    builder.call(builder.inttoptr(address, routine.as_pointer()), passed)
    return context.get_dummy_value()
