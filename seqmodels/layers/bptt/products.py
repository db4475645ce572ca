"""Matrix products by the faster library.

On x86 `torch.mm` in single precision calls MKL, which reaches only half the speed of an AMD processor with AVX-512.
There oneDNN, the library behind `torch.nn.Linear` in a compiled model, takes half the time once a product is large
enough to pay for the call; torch offers it by private operators only. The choice depends on the processor and the
sizes alone, so equal runs on equal machines compute equal numbers. Both compute in the precision of the tensors.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

StepProduct = Callable[[Tensor, Tensor, Tensor], object]
"""A function (inputs, addend, out) that writes addend + inputs weight^T into out."""

SMALLEST = 4e6
"""The fewest floating-point operations for which oneDNN is faster, although its call takes 10 microseconds longer."""

FEW = 64 * 64
"""The most entries of a result for which MKL is faster at summing outer products of many rows."""

NARROW = 16
"""With fewer columns, MKL takes several times as long for a product as for its transpose."""


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Write `F.linear` of inputs (rows, features) into `out`."""
    if _takes_onednn(inputs, len(inputs), *weight.shape):
        out.copy_(torch.ops.mkldnn._linear_pointwise.default(inputs.contiguous(), weight, bias, "none", [], ""))
    elif bias is None:
        torch.mm(inputs, weight.contiguous().t(), out=out)  # MKL is slow at narrow products with a transposed weight
    else:
        torch.addmm(bias, inputs, weight.t(), out=out)


def outer(left: Tensor, right: Tensor, total: Tensor) -> None:
    """Add left^T right, the sum of the outer products of their rows, to `total`."""
    if total.numel() > FEW and _takes_onednn(left, len(left), *total.shape):
        total += torch.ops.mkldnn._linear_pointwise.default(
            right.contiguous().t(), left.contiguous().t(), None, "none", [], ""
        ).t()
    elif right.size(1) < NARROW:
        total += torch.mm(right.t(), left, out=total.new_empty(total.t().shape)).t()
    else:
        total.addmm_(left.t(), right)


def step_product(weight: Tensor, rows: int) -> StepProduct:
    """The product of each of many steps with the same weight.

    Args:
        weight: (columns, features), rearranged for the library here, once.
        rows: the rows of the inputs of each step.
    """
    if _takes_onednn(weight, rows, *weight.shape):
        ordered = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        multiply = torch.ops.mkldnn._linear_pointwise.default
        return lambda inputs, addend, out: torch.add(
            addend, multiply(inputs.contiguous(), ordered, None, "none", [], ""), out=out
        )
    transposed = weight.t()
    return lambda inputs, addend, out: torch.addmm(addend, inputs, transposed, out=out)


def _takes_onednn(like: Tensor, rows: int, columns: int, shared: int) -> bool:
    if like.dtype != torch.float32 or like.device.type != "cpu" or 2 * rows * columns * shared < SMALLEST:
        return False
    return bool(has_faster_onednn() and torch.backends.mkldnn.enabled)


@functools.cache
def has_faster_onednn() -> bool:
    """Whether this torch has oneDNN, and runs on an AMD processor with AVX-512.

    Before version 2.11 torch does not say which processor it runs on, and `torch.mm` is used everywhere.
    """
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_f")) and "AMD" in str(features.get("cpu_name")) and has_onednn()


def has_onednn() -> bool:
    """Whether this torch has oneDNN, and the two of its operators that are used here."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    )
