"""What generated code is made of: pointers, products, functions, and how numba has to compile them.

This module imports numba, and is imported only where code is compiled.
"""

import math
from typing import Any

import numpy as np
from numba import carray, njit, types
from numba.core.compiler import Compiler
from numba.extending import intrinsic

from seqmodels.layers.compiled.blas import multiply, pack
from seqmodels.layers.compiled.functions import for_dtype

__all__ = [
    "add_up",
    "clear",
    "compiled",
    "copy",
    "entry",
    "functions_float32",
    "functions_float64",
    "matrix",
    "multiply",
    "outer",
    "pack",
    "pointer_float32",
    "pointer_float64",
    "transposed",
    "weight",
]

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "arcp", "nsz", "afn"}}
"""Not `nnan` and `ninf`: the state of an sLSTM starts at minus infinity."""


class _WithoutAliases(Compiler):
    """The arguments of a function do not overlap, unless they are only read: `restrict` of C."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.state.flags.noalias = True


WITHOUT_WRAPPERS: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Only compiled code calls the function, so Python needs no way to it."""

compiled = njit(pipeline_class=_WithoutAliases, **WITHOUT_WRAPPERS, **OPTIONS)


def _pointer(dtype: Any) -> Any:
    """A function from an address to a pointer."""

    @intrinsic
    def pointer(context: Any, address: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(dtype)(types.intp), emit

    return pointer


pointer_float32, pointer_float64 = _pointer(types.float32), _pointer(types.float64)


@njit(**OPTIONS)
def matrix(pointer, rows, columns, distance):  # type: ignore[no-untyped-def]
    """Some columns of rows that lie `distance` numbers apart."""
    return carray(pointer, (rows, distance))[:, :columns]


@njit(**OPTIONS)
def weight(pointer, depth, columns):  # type: ignore[no-untyped-def]
    return carray(pointer, (depth, columns))


@njit(**OPTIONS)
def transposed(pointer, depth, columns):  # type: ignore[no-untyped-def]
    return carray(pointer, (columns, depth)).T


@compiled
def clear(count, numbers):  # type: ignore[no-untyped-def]
    for j in range(count):
        numbers[j] = 0


@compiled
def copy(count, source, target):  # type: ignore[no-untyped-def]
    for j in range(count):
        target[j] = source[j]


@compiled
def add_up(count, step, total):  # type: ignore[no-untyped-def]
    """Move the sum of a step to the total: in single precision adding row after row would lose digits."""
    for j in range(count):
        total[j] += step[j]
        step[j] = 0


@njit(**OPTIONS)
def outer(left, right, count, total):  # type: ignore[no-untyped-def]
    """Add the sum of outer products of `count` rows to a total. A factor is (pointer, width, distance of rows)."""
    a, b = matrix(left[0], count, left[1], left[2]), matrix(right[0], count, right[1], right[2])
    result = carray(total, (left[1], right[1]))
    if right[1] >= NARROW or left[1] <= right[1]:
        multiply(a.T, pack(b), result, True)
    else:  # of which most of a vector register would be empty
        flipped = np.zeros((right[1], left[1]), result.dtype)
        multiply(b.T, pack(a), flipped, False)
        for i in range(left[1]):
            for j in range(right[1]):
                result[i, j] += flipped[j, i]


NARROW = 16
"""Columns with which a product takes longer than its transpose."""


def _functions(dtype: type) -> dict[str, Any]:
    return {"sqrt": math.sqrt, "abs": abs, "sin": math.sin, "cos": math.cos, "erf": math.erf, **for_dtype(dtype)}


functions_float32, functions_float64 = _functions(np.float32), _functions(np.float64)


def entry(function: Any) -> Any:
    """Compile the function that a pass calls."""
    return njit("void(int64[::1], int64[::1], int64[::1], int64[::1])", cache=CACHE, nogil=True, **OPTIONS)(function)


CACHE = False
