"""Linear recurrences for all steps at once.

    h_t = a_t * h_{t-1} + b_t

Two neighbouring steps, (a, b) and then (a', b'), are together one step of the same kind, (a' a, a' b + b'). So a
sequence can be cut into chunks that are computed side by side:

    1. each chunk from the state 0, which yields its last state, and the product of its factors;
    2. from these the state before each chunk, one chunk after the other;
    3. each chunk from that state.

With about sqrt(2 T) chunks, T steps take about 3 sqrt(T / 2) + sqrt(2 T) operations instead of T. That pays where the
time to call an operation exceeds that of its arithmetic. Where a step is large, one step after the other is faster,
because it reads everything only once.

Guy Blelloch, "Prefix Sums and Their Applications", CMU-CS-90-190, 1990, section 1.4.

The gradients follow the same recurrence backwards. With g_t the gradient of the output h_t alone:

    G_t = g_t + conj(a_{t+1}) G_{t+1}        db_t = G_t        da_t = G_t conj(h_{t-1})        dh_0 = conj(a_1) G_1
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers.fallback import gradients_by_autograd, is_plain, operations_are_observed

LARGE = 4096
"""If a step has at least this many numbers, one step after the other is faster than chunks."""

SHORTEST = 32
"""The fewest steps that are cut into chunks."""

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def linear_scan(factors: Tensor, terms: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """All states h_1 .. h_T, shaped like `terms`, and the last one.

    Args:
        factors: a, of any sign and shaped like `terms`, or a shape that broadcasts to it: (features,) if all steps
            and sequences have the same factors.
        terms: b, (time, batch, ...); real or complex.
        state: h_0, (batch, ...).
    """
    factors = factors[(None,) * (terms.dim() - factors.dim())]  # a dimension of size 1 for each that is missing
    tensors = (factors, terms, state)
    if not is_plain(tensors, DTYPES):
        return scan_in_rounds(*tensors)
    if torch.is_grad_enabled() and any(part.requires_grad for part in tensors):
        return _LinearScan.apply(*tensors)
    states = torch.empty_like(terms, memory_format=torch.contiguous_format)
    _scan(factors, terms, state, states)
    return states, states[-1].clone()


def scan_in_rounds(factors: Tensor, terms: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """The same in log2(T) rounds of operations that autograd, transforms and compilers can follow.

    W. Daniel Hillis and Guy Steele, "Data Parallel Algorithms", Communications of the ACM 29(12), 1986.
    """
    factors = factors.expand(len(terms), *factors.shape[1:])
    terms = torch.cat([(factors[0] * state + terms[0]).unsqueeze(0), terms[1:]])
    reach = 1
    while reach < len(terms):
        terms = torch.cat([terms[:reach], factors[reach:] * terms[:-reach] + terms[reach:]])
        factors = torch.cat([factors[:reach], factors[reach:] * factors[:-reach]])
        reach *= 2
    return terms, terms[-1]


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, factors: Tensor, terms: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        states = torch.empty_like(terms, memory_format=torch.contiguous_format)
        _scan(factors, terms, state, states)
        ctx.set_materialize_grads(False)  # a model that reads the last state alone has no gradient for the others
        ctx.save_for_backward(factors, terms, state, states)
        return states, states[-1].clone()

    @staticmethod
    def backward(ctx: Any, d_states: Tensor | None, d_last: Tensor | None) -> Any:
        factors, terms, state, states = ctx.saved_tensors
        if torch.is_grad_enabled() or operations_are_observed(d_states, d_last):
            return tuple(gradients_by_autograd(scan_in_rounds, (factors, terms, state), (d_states, d_last)))
        if d_states is None:
            d_states = states.new_zeros(()).expand_as(states)
        factors = factors.conj().resolve_conj()
        d_terms = torch.empty_like(states)
        torch.add(d_states[-1], 0 if d_last is None else d_last, out=d_terms[-1])
        after = factors if len(factors) == 1 else factors[1:]
        _scan(after, d_states[:-1], d_terms[-1], d_terms[:-1], backwards=True)
        d_factors = d_state = None
        if ctx.needs_input_grad[0]:
            before = torch.cat([state.unsqueeze(0), states[:-1]])
            d_factors = (d_terms * before.conj()).sum_to_size(factors.shape)
        if ctx.needs_input_grad[2]:
            d_state = factors[0] * d_terms[0]
        return d_factors, d_terms, d_state


def _scan(factors: Tensor, terms: Tensor, state: Tensor, out: Tensor, backwards: bool = False) -> None:
    """Write all states into `out`. Backwards, `state` comes after the last step, and the first step is the last.

    `factors` has one step if all steps have the same.
    """
    chunks = math.isqrt(2 * len(terms))
    whole = len(terms) // chunks * chunks if len(terms) >= SHORTEST and state.numel() < LARGE else 0
    equal, rest = slice(0, whole), slice(whole, len(terms))  # steps in chunks of equal length, and those left over
    for steps in (rest, equal) if backwards else (equal, rest):
        if steps.start == steps.stop:
            continue
        parts = factors if len(factors) == 1 else factors[steps], terms[steps], out[steps]
        if steps is equal:
            _side_by_side(chunks, backwards, *parts, state)
        else:
            _one_by_one(_steps(0, backwards, *parts), state)
        state = out[steps][0 if backwards else -1]


def _side_by_side(chunks: int, backwards: bool, factors: Tensor, terms: Tensor, out: Tensor, state: Tensor) -> None:
    """Scan in equal chunks, as the head of this file describes."""
    # Factors of a single step become one chunk of one step, which broadcasts.
    factors, terms, out = (part.unflatten(0, (min(chunks, len(part)), -1)) for part in (factors, terms, out))
    steps = list(_steps(1, backwards, factors, terms, out))
    first, last, _ = steps[0]
    product, last = first.clone(), last.clone()
    for factor, term, _ in steps[1:]:
        torch.addcmul(term, factor, last, out=last)
        product *= factor
    before = torch.empty_like(last)
    for factor, term, start in _steps(0, backwards, product, last, before):
        start.copy_(state)
        state = torch.addcmul(term, factor, state)
    _one_by_one(steps, before)


def _one_by_one(steps: Iterable[tuple[Tensor, ...]], state: Tensor) -> None:
    for factor, term, out in steps:
        state = torch.addcmul(term, factor, state, out=out)


def _steps(time: int, backwards: bool, factors: Tensor, terms: Tensor, out: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The slices of three tensors at each step, where the dimension `time` of the factors may have size 1."""
    count = out.size(time)
    parts = [part.unbind(time) for part in (factors, terms, out)]
    parts[0] = parts[0] * (count // len(parts[0]))
    return zip(*(part[::-1] if backwards else part for part in parts), strict=True)
