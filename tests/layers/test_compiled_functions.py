"""Functions and products for compiled loops: their errors against many digits, and that LLVM vectorises them."""

import re

import mpmath
import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="needs the extra `compiled`")

from seqmodels.layers.compiled.blas import ROWS, multiply, pack  # noqa: E402
from seqmodels.layers.compiled.functions import for_dtype  # noqa: E402

FLAGS = {"contract", "reassoc", "arcp", "nsz", "afn"}
"""What generated loops allow LLVM, which must not reach into the functions."""

BOUND = {np.float32: 3e-7, np.float64: 1e-15}
ENDS = [0.0, np.inf, -np.inf, np.nan]
FUNCTIONS = {  # the definition, and its values at the four ends
    "exp": (mpmath.exp, [1, np.inf, 0, np.nan]),
    "expm1": (mpmath.expm1, [0, np.inf, -1, np.nan]),
    "log": (mpmath.log, [-np.inf, np.inf, np.nan, np.nan]),
    "log1p": (mpmath.log1p, [0, np.inf, np.nan, np.nan]),
    "tanh": (mpmath.tanh, [0, 1, -1, np.nan]),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), [0.5, 1, 0, np.nan]),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), [np.log(2), np.inf, 0, np.nan]),
    "logsigmoid": (lambda x: -mpmath.log1p(mpmath.exp(-x)), [-np.log(2), 0, -np.inf, np.nan]),
}


def compiled_loop(function):
    @numba.njit(error_model="numpy", fastmath=FLAGS)
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return loop


def arguments(dtype, positive):
    """A grid over what does not saturate, numbers around 0 and 1 of all sizes, subnormal ones, and random bits."""
    rng = np.random.default_rng(0)
    limit = 88 if dtype == np.float32 else 709
    integer = np.uint32 if dtype == np.float32 else np.uint64
    small = rng.standard_normal(200) * np.exp(rng.uniform(-60, 3, 200))
    bits = rng.integers(0, np.iinfo(integer).max, 300, dtype=integer).view(dtype)
    x = np.concatenate([np.linspace(-limit, limit, 401), np.linspace(-20, 20, 200), small, 1 + small])
    tiny = np.finfo(dtype).tiny * np.array([-0.3, 1e-4, 0.3, 0.99], dtype)
    x = np.concatenate([x.astype(dtype), tiny, bits[np.isfinite(bits)]])
    return abs(x[x != 0]) if positive else x


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_against_many_digits(name, dtype):
    assert FUNCTIONS.keys() == for_dtype(dtype).keys()
    definition, values_at_ends = FUNCTIONS[name]
    loop = compiled_loop(for_dtype(dtype)[name])
    x = arguments(dtype, positive=name == "log")
    x = x[x > -1] if name == "log1p" else x
    y = np.empty_like(x)
    loop(x, y)
    limits = np.finfo(dtype)
    compared = 0
    with mpmath.workdps(40):
        for argument, value in zip(x.tolist(), y.tolist(), strict=True):
            if name in ("softplus", "logsigmoid") and abs(argument) > 1e4:  # more digits than one can sum
                expected = mpmath.mpf(max(argument, 0) if name == "softplus" else min(argument, 0))
            else:
                expected = definition(mpmath.mpf(argument))
            if abs(expected) > limits.max:
                assert value == np.copysign(np.inf, float(mpmath.sign(expected))), argument
            elif abs(expected) < 1.5 * float(limits.tiny):
                assert abs(value) <= 1.5 * float(limits.tiny), argument
            else:
                compared += 1
                assert abs(value - expected) <= BOUND[dtype] * abs(expected), (argument, value, expected)
    assert compared > 500

    at_ends = np.empty(len(ENDS), dtype)
    loop(np.array(ENDS, dtype), at_ends)
    np.testing.assert_allclose(at_ends, values_at_ends, rtol=BOUND[dtype])

    (code,) = loop.inspect_llvm().values()
    assert re.search(r"fmul [^\n]*<\d+ x (float|double)>", code)
    assert not re.search(r"call [^\n]*@(exp|log|tanh)", code)


def test_no_functions_for_other_types():
    with pytest.raises(KeyError):
        for_dtype(np.float16)


@pytest.mark.parametrize("dtype", BOUND)
def test_products_of_all_sizes_of_tiles(dtype):
    rng = np.random.default_rng(0)
    panel = pack(np.zeros((1, 1), dtype)).shape[2]
    for rows in range(1, 2 * ROWS + 2):
        for columns in (1, panel - 1, panel, panel + 1, 5 * panel, 7 * panel + 3):
            wide = rng.standard_normal((rows, 12)).astype(dtype)
            weight = rng.standard_normal((9, columns)).astype(dtype)
            before = rng.standard_normal((rows, columns + 5)).astype(dtype)
            a = wide[:, 2:11]
            product = a.astype(np.float64) @ weight.astype(np.float64)
            for given in (weight, np.ascontiguousarray(weight.T).T):
                for accumulate in (False, True):
                    c = before.copy()
                    if not accumulate:
                        c[:, 3:-2] = np.nan  # which is not read
                    multiply(a, pack(given), c[:, 3:-2], accumulate)
                    expected = before.astype(np.float64)
                    expected[:, 3:-2] = product + (expected[:, 3:-2] if accumulate else 0)
                    tolerance = 1e-5 if dtype == np.float32 else 1e-14
                    np.testing.assert_allclose(c, expected, rtol=0, atol=tolerance)


def test_products_need_one_type():
    with pytest.raises(numba.TypingError, match="expected arrays of one type, float32 or float64"):
        multiply(np.ones((1, 1), np.float32), pack(np.ones((1, 1))), np.ones((1, 1)), False)
