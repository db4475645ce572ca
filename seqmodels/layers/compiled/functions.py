"""Elementary functions which LLVM vectorises, for loops that numba compiles.

    f = for_dtype(np.float32)   # {"exp": ..., "expm1": ..., "log": ..., "log1p": ..., "tanh": ..., "sigmoid": ...,
                                #  "logsigmoid": ..., "softplus": ...}, from one number of that type to another
    tanh = f["tanh"]

    @numba.njit(error_model="numpy")
    def activate(x, y):
        for i in range(x.size):
            y[i] = tanh(x[i])   # packed instructions, where `math.tanh` and `np.tanh` are one call each

All are free of branches and tables. An argument is reduced by powers of two, which are read and made as bits; a
polynomial of least relative error (by Remez's exchange) does the rest (W. J. Cody and W. Waite, Software Manual for the
Elementary Functions, 1980; the logarithm is that of fdlibm). They are compiled without reassociation, which would undo
the splitting of log 2; the flags of a loop that calls them change nothing in them.

Errors are relative, of any finite argument: below 3e-7 in float32 and 1e-15 in float64. Infinities and NaN are as in
numpy, but for the sign of zeros. Results below 1.5 times the smallest normal number may be zero.
"""

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core.errors import TypingError
from numba.extending import intrinsic

EXP = {  # (e^r - 1 - r) / r^2 for |r| <= 0.3475, in powers of r
    np.float32: (
        0.50000000273732512,
        0.16666576042428037,
        0.04166637213617634,
        0.00836333529431019,
        0.0013941391887994,
    ),
    np.float64: (
        *(0.500000000000000105, 0.166666666666666747, 0.0416666666666232417, 0.00833333333332196637),
        *(0.00138888889176551405, 0.000198412698873309036, 2.48015206119297402e-5, 2.75572414973948643e-6),
        *(2.76204129188022593e-7, 2.51103664551690723e-8),
    ),
}
LOG = {  # (log((1 + s) / (1 - s)) - 2 s) / s^3 for |s| <= 0.1716, in powers of s^2
    np.float32: (0.666666853092019056, 0.399887011195960732, 0.295828511760995905),
    np.float64: (
        *(0.666666666666666974, 0.399999999998980289, 0.285714286265875124, 0.222222110421841523),
        *(0.18182895447145643, 0.153315230383313855, 0.146187847874804862),
    ),
}
LOG_2 = {  # in two parts: the products of the first with small integers are exact
    np.float32: (0.693359375, -2.12194440054690583e-4),
    np.float64: (6.93147180369123816490e-01, 1.90821492927058770002e-10),
}
"""Coefficients for each type."""


@functools.cache
def for_dtype(dtype: type) -> dict[str, Callable]:
    """The functions for np.float32 or np.float64, as numba's dispatchers from one number to one.

    Raises:
        KeyError: for any other type.
    """
    dtype = np.dtype(dtype).type
    zero, half, one, two = (dtype(number) for number in (0, 0.5, 1, 2))
    limits = np.finfo(dtype)
    infinity, nan, smallest = dtype(np.inf), dtype(np.nan), limits.tiny
    high, low = (dtype(part) for part in LOG_2[dtype])
    per_log_2 = dtype(1 / np.log(2))
    most, least = dtype(limits.maxexp), dtype(limits.minexp + 1)
    underflow = dtype((limits.minexp + 0.5) * np.log(2))
    saturated = dtype(40)  # 1 - tanh(20) is 8e-18
    scaling, scaled = dtype(2.0**60), dtype(60)
    large, root = dtype(20), dtype(np.sqrt(2) - 1)
    exp_tail, log_tail = _polynomial(EXP[dtype]), _polynomial(LOG[dtype])
    compiled = numba.njit(error_model="numpy", fastmath={"contract"}, forceinline=True)

    @compiled
    def powers(x: Any) -> Any:
        """e^x = 2 m (1 + q) for a power m of two, which is normal, and a small q (large where e^x is infinite)."""
        n = _round(x * per_log_2)
        n = n if n > least else least  # and not NaN, of which no integer can be made
        n = n if n < most else most
        r = (x - n * high) - n * low
        return _power_of_two(n - one), r + r * r * exp_tail(r)

    @compiled
    def exp(x: Any) -> Any:
        m, q = powers(x)
        return zero if x < underflow else (two + two * q) * m

    @compiled
    def expm1(x: Any) -> Any:
        x = -saturated if x < -saturated else x
        m, q = powers(x)
        return two * (m * q + (m - half))

    @compiled
    def tanh(x: Any) -> Any:
        """(e^2x - 1) / (e^2x + 1)."""
        y = two * x
        y = saturated if y > saturated else y
        d = expm1(y)
        return d / (d + two)

    @compiled
    def sigmoid(x: Any) -> Any:
        return one / (one + exp(-x))

    @compiled
    def log_of_sum(k: Any, f: Any) -> Any:
        """log(2^k (1 + f)) for 1 + f between the roots of 1/2 and 2."""
        s = f / (two + f)
        z = s * s
        square = half * f * f
        return k * high - ((square - (s * (square + z * log_tail(z)) + k * low)) - f)

    @compiled
    def log(x: Any) -> Any:
        subnormal = x < smallest
        y = x * scaling if subnormal else x
        k = _exponent(y) - (scaled if subnormal else zero)
        result = log_of_sum(k, _mantissa(y) - one)
        result = result if x < infinity else x
        return result if x > zero else (-infinity if x == zero else nan)

    @compiled
    def log1p(x: Any) -> Any:
        y = one + x
        k = _exponent(y)
        scale = _power_of_two(-k if k < large else -large)
        f = scale * x + (scale - one) if k < large else _mantissa(y) - one
        result = log_of_sum(k, f)
        result = result if x < infinity else x
        return result if y > zero else (-infinity if y == zero else nan)

    @compiled
    def log1p_of_unit(x: Any) -> Any:
        """log(1 + x) for x between 0 and 1."""
        scale = one if x < root else half
        return log_of_sum(zero if x < root else one, scale * x + (scale - one))

    @compiled
    def softplus(x: Any) -> Any:
        return (zero if x < zero else x) + log1p_of_unit(exp(x if x < zero else -x))

    @compiled
    def logsigmoid(x: Any) -> Any:
        return -softplus(-x)

    return {
        "exp": exp,
        "expm1": expm1,
        "tanh": tanh,
        "sigmoid": sigmoid,
        "log": log,
        "log1p": log1p,
        "softplus": softplus,
        "logsigmoid": logsigmoid,
    }


def _on_floats(emit: Callable[..., Any]) -> Callable:
    """An intrinsic from one float to another of its type: `emit(builder, type, x)` writes it in LLVM's terms."""

    def typing(context: Any, x: Any) -> Any:
        if x not in (numba.float32, numba.float64):
            raise TypingError(f"expected float32 or float64, got {x}")
        return x(x), lambda context, builder, signature, arguments: emit(builder, arguments[0].type, arguments[0])

    typing.__name__ = emit.__name__
    return intrinsic(typing)


def _polynomial(coefficients: tuple[float, ...]) -> Callable:
    """The polynomial with these coefficients, the constant first, by Horner's rule."""

    def emit(builder: Any, kind: Any, x: Any) -> Any:
        *others, value = (kind(coefficient) for coefficient in coefficients)
        for coefficient in reversed(others):
            value = builder.fadd(builder.fmul(value, x), coefficient)
        return value

    return _on_floats(emit)


def _bits(kind: Any) -> tuple[Any, int, int]:
    """The integer as wide as a type of floats, the number of bits of the fraction, and the exponent of 1 in storage."""
    return (ir.IntType(32), 23, 127) if isinstance(kind, ir.FloatType) else (ir.IntType(64), 52, 1023)


@_on_floats
def _round(builder: Any, kind: Any, x: Any) -> Any:
    """To the nearest integer."""
    return builder.call(builder.module.declare_intrinsic("llvm.rint", [kind]), [x])


@_on_floats
def _power_of_two(builder: Any, kind: Any, n: Any) -> Any:
    """2^n, for an integer n for which this is normal."""
    integer, fraction, one = _bits(kind)
    n = builder.fptosi(n, ir.IntType(32))  # which AVX2 has for both types
    n = builder.sext(n, integer) if integer.width > 32 else n
    return builder.bitcast(builder.shl(builder.add(n, integer(one)), integer(fraction)), kind)


def _from_root(builder: Any, kind: Any, x: Any) -> tuple[Any, Any]:
    """The bits of x, and the stored exponent of x / sqrt(1/2), that is one more where the fraction exceeds sqrt(2)."""
    integer, fraction, one = _bits(kind)
    root = int(np.sqrt(0.5).astype(np.float32).view(np.int32)) if fraction == 23 else int(np.sqrt(0.5).view(np.int64))
    bits = builder.bitcast(x, integer)
    return bits, builder.lshr(builder.add(bits, integer((one << fraction) - root)), integer(fraction))


@_on_floats
def _exponent(builder: Any, kind: Any, x: Any) -> Any:
    """The k for which x / 2^k lies between the roots of 1/2 and 2, for a positive normal x."""
    integer, _, one = _bits(kind)
    stored = builder.sub(_from_root(builder, kind, x)[1], integer(one))
    stored = builder.trunc(stored, ir.IntType(32)) if integer.width > 32 else stored
    return builder.sitofp(stored, kind)


@_on_floats
def _mantissa(builder: Any, kind: Any, x: Any) -> Any:
    """x / 2^k, with k as above."""
    integer, fraction, one = _bits(kind)
    bits, stored = _from_root(builder, kind, x)
    shift = builder.shl(builder.sub(stored, integer(one)), integer(fraction))
    return builder.bitcast(builder.sub(bits, shift), kind)
