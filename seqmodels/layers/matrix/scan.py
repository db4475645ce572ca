"""The recurrence of layers whose state is a matrix.

    S_t = diag(w_t) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T        state, K x V
    o_t = S_t^T q_t                                                  output, V numbers

The decay w forgets. k v^T writes the value v under the key k, and the query q reads. b a^T removes, or turns around,
what the state holds in the direction a. Linear attention, the delta rule, Mamba-2 and RWKV-7 are this recurrence with
different w, a and b, all of which depend on the inputs alone.

`matrix_scan` computes the same in chunks of C steps, without approximation. Within a chunk, let D_tj be the product of
the decays w_{j+1} .. w_t, G_t that of w_1 .. w_t, and u_t = S_{t-1}^T a_t what a reads. Then

    S_t = G_t S_0 + sum_{j<=t} D_tj (b_j u_j^T + k_j v_j^T)

so that all u of a chunk follow from one triangular system of equations. On a CPU this is computed by kernel.py, with a
backward pass of its own. `scan_by_autograd` is the same in operations that torch can follow: all parts but S_0 are
computed for all chunks at once, and what is left to do one chunk after the other is S_C = M S_0 + N.

Songlin Yang, Bailin Wang, Yu Zhang, Yikang Shen and Yoon Kim, "Parallelizing Linear Transformers with the Delta Rule
over Sequence Length", NeurIPS 2024, section 3; with decay: Songlin Yang, Jan Kautz and Ali Hatamizadeh, "Gated Delta
Networks: Improving Mamba2 with Delta Rule", ICLR 2025, section 3.3.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.diagonal.scan import linear_scan
from seqmodels.layers.fallback import gradients_by_autograd, is_plain, operations_are_observed
from seqmodels.layers.matrix import kernel
from seqmodels.layers.matrix.decays import divisible
from seqmodels.layers.matrix.products import decayed_products
from seqmodels.layers.matrix.segment import Parts


@dataclass(frozen=True)
class Steps:
    """What steps do to the state, and how it is read: each (..., features), for several steps with the time first."""

    q: Tensor
    """(..., K)"""
    k: Tensor
    """(..., K)"""
    v: Tensor
    """(..., V)"""
    log_w: Tensor | None = None
    """The logarithm of the decay, (..., K), or (..., 1) where all rows of the state have the same; None: no decay."""
    a: Tensor | None = None
    b: Tensor | None = None
    """a and b are (..., K), or both None."""

    @property
    def parts(self) -> Parts:
        """q, k, v, log_w, a, b."""
        return self.q, self.k, self.v, self.log_w, self.a, self.b


def matrix_step(step: Steps, state: Tensor) -> tuple[Tensor, Tensor]:
    """The output (..., V) of one step and the state after it, from the state (..., K, V) before it."""
    after = state if step.log_w is None else step.log_w.exp().unsqueeze(-1) * state
    if step.a is not None and step.b is not None:
        after = after + step.b.unsqueeze(-1) * (step.a.unsqueeze(-2) @ state)
    after = after + step.k.unsqueeze(-1) * step.v.unsqueeze(-2)
    return (step.q.unsqueeze(-2) @ after).squeeze(-2), after


def matrix_loop(steps: Steps, state: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs (time, ..., V) and the last state, one step after the other."""
    outputs = []
    # Each part is split once: the gradient of a part that is indexed at every step is as long as the part, each time.
    parts = ([None] * len(steps.q) if part is None else part.unbind(0) for part in steps.parts)
    for step in zip(*parts, strict=True):
        output, state = matrix_step(Steps(*step), state)
        outputs.append(output)
    return torch.stack(outputs), state


def matrix_scan(steps: Steps, state: Tensor, chunk: int = 16) -> tuple[Tensor, Tensor]:
    """The outputs (time, ..., V) and the last state, in chunks.

    Args:
        steps: all steps, the time first.
        state: (..., K, V), the state before the first step.
        chunk: steps of a chunk, a power of two. It changes the speed and the memory, not the result.
    """
    present = [part for part in steps.parts if part is not None]
    if state.device.type == "cpu" and state.dim() > 2 and is_plain((state, *present), (torch.float32, torch.float64)):
        length = next((length for length in (chunk, chunk // 2, chunk // 4) if _applies(steps.log_w, length)), None)
        if length is not None and torch.is_grad_enabled() and any(part.requires_grad for part in (state, *present)):
            return _MatrixScan.apply(length, chunk, state, *steps.parts)
        if length is not None:
            return kernel.forward(steps.parts, state, length, keep=False)[:2]
    return scan_by_autograd(steps, state, chunk)


def _applies(log_w: Tensor | None, length: int) -> bool:
    return length > 0 and divisible(log_w, length)


class _MatrixScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, length: int, chunk: int, state: Tensor, *parts: Any) -> tuple[Tensor, Tensor]:
        outputs, last, kept = kernel.forward(parts, state, length, keep=True)
        ctx.length, ctx.chunk = length, chunk
        ctx.set_materialize_grads(False)  # a model that reads the last state alone has no gradient for the outputs
        ctx.save_for_backward(state, *parts, *kept)
        return outputs, last

    @staticmethod
    def backward(ctx: Any, d_outputs: Tensor | None, d_last: Tensor | None) -> Any:
        state, *saved = ctx.saved_tensors
        parts, kept = tuple(saved[:6]), saved[6:]
        if torch.is_grad_enabled() or operations_are_observed(d_outputs, d_last):
            return None, None, *_gradients_by_autograd(ctx.chunk, (state, *parts), (d_outputs, d_last))
        d_parts, d_state = kernel.backward(parts, kept, ctx.length, d_outputs, d_last, ctx.needs_input_grad[6])
        return None, None, d_state, *d_parts


def _gradients_by_autograd(chunk: int, given: tuple[Tensor | None, ...], d_outputs: Any) -> list[Tensor | None]:
    """The gradients of the state and the parts, None for those that are None."""
    places = [place for place, part in enumerate(given) if part is not None]

    def function(*present: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(places, present, strict=True))
        steps = Steps(named[1], named[2], named[3], named.get(4), named.get(5), named.get(6))
        return scan_by_autograd(steps, named[0], chunk)

    found = gradients_by_autograd(function, [part for part in given if part is not None], d_outputs)
    gradients = dict(zip(places, found, strict=True))
    return [gradients.get(place) for place in range(len(given))]


def scan_by_autograd(steps: Steps, state: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """`matrix_scan` in operations that autograd, transforms and compilers can follow."""
    time = len(steps.q)
    length = min(chunk, 2 ** (time - 1).bit_length())

    def chunked(part: Tensor) -> Tensor:
        """From (time, ..., features) to (chunks, ..., length, features). The steps that fill up change no state."""
        part = F.pad(part, (0,) * (2 * part.dim() - 1) + (-time % length,))
        return part.unflatten(0, (-1, length)).movedim(1, -2)

    logs = steps.q.new_zeros(length, 1) if steps.log_w is None else chunked(steps.log_w)
    q, k, v = chunked(steps.q), chunked(steps.k), chunked(steps.v)
    if steps.a is None or steps.b is None:
        (q_k,), from_start, to_end = decayed_products((q,), (k,), logs)
        q_start, written = q * from_start, (k * to_end).mT @ v
        outputs = q_k @ v
        states, last = linear_scan(from_start[..., -1, :].unsqueeze(-1), written, state)
        before = torch.cat([state.unsqueeze(0), states[:-1]])
    else:
        a, b = chunked(steps.a), chunked(steps.b)
        a_next = F.pad(a, (0, 0, -1, 1))  # reads S_t, as q does
        (q_k, q_b, a_next_k, a_next_b), from_start, to_end = decayed_products((q, a_next), (k, b), logs)
        q_start, written = q * from_start, (k * to_end).mT @ v
        a_k, a_b, a_start = _next(a_next_k), _next(a_next_b), a * _next(from_start, 1.0)
        identity = torch.eye(length, dtype=a.dtype, device=a.device)
        known = torch.cat([a_start, a_k @ v], dim=-1)
        read = torch.linalg.solve_triangular(identity - a_b, known, upper=False, unitriangular=True)
        parts = a.size(-1), v.size(-1)  # of u: that which S_0 is multiplied by, and that which is known
        (erased, added), (hidden, seen) = ((part @ read).split(parts, dim=-1) for part in ((b * to_end).mT, q_b))
        kept = torch.diag_embed(from_start[..., -1, :].expand(*erased.shape[:-1]))
        transitions, written = kept + erased, written + added
        q_start, outputs = q_start + hidden, q_k @ v + seen
        starts = [state]
        for transition, term in zip(transitions.unbind(0), written.unbind(0), strict=True):
            starts.append(term + transition @ starts[-1])
        before, last = torch.stack(starts[:-1]), starts[-1]
    outputs = outputs + q_start @ before
    return outputs.movedim(-2, 1).flatten(0, 1)[:time], last


def _next(part: Tensor, first: float = 0.0) -> Tensor:
    """Each step's row at the step after it; the first row is constant."""
    return F.pad(part, (0, 0, 1, -1), value=first)
