"""A compiled pass as one node of autograd's graph."""

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers.cell import Cell, States, Weights
from seqmodels.layers.compiled.trace import Untraceable, attributes
from seqmodels.layers.fallback import gradients_by_autograd, is_plain, operations_are_observed

_PLANS: dict[Any, Any] = {}
"""The plan of each kind of cell, or why it has none."""


def compiled_scan(layer: Any, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    """All steps of a cell by compiled code, or by autograd where that is not possible.

    Args:
        layer: the cell.
        sequence: its inputs (time, batch, features), before `project`.
        state: the initial states (batch, features).
        weights: those of one layer in one direction.

    Warns:
        UserWarning: once for each kind of cell, that its step cannot be compiled, and why.
    """
    present = {name: weight for name, weight in vars(weights).items() if weight is not None}
    tensors = (sequence, *state, *present.values())
    if sequence.device.type == "cpu" and is_plain(tensors, (torch.float32, torch.float64)):
        plan = plan_of(layer, sequence, state, weights)
        if not isinstance(plan, Untraceable):
            return _scan(plan, layer, sequence, state, weights)
    return _loop(layer, sequence, state, weights)


def _scan(plan: Any, layer: Any, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    from seqmodels.layers.compiled.passes import forward

    used = {name: getattr(weights, name) for name in plan.weights}
    tensors = (sequence, *state, *used.values())
    if torch.is_grad_enabled() and any(part.requires_grad for part in tensors):
        output, *final = _Compiled.apply(plan, layer, weights, *tensors)
        return output, tuple(final)
    with torch.no_grad():
        output, final, _ = forward(plan, sequence, state, used, keep=False)
    return output, final


def _loop(layer: Any, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    return layer.scan(layer.project(sequence, weights), state, weights)


def plan_of(layer: Any, sequence: Tensor, state: States, weights: Weights) -> Any:
    """The plan for a cell and sizes, or why there is none."""
    kind = type(layer)
    shapes = tuple((name, None if part is None else part.shape) for name, part in vars(weights).items())
    widths = sequence.shape[-1], *(part.shape[-1] for part in state)
    key: Any = kind, kind.step, kind.project, kind.advance, kind.scan, shapes, widths, sequence.dtype
    reason = None
    try:
        key = *key, attributes(layer)
        hash(key)
    except (Untraceable, TypeError) as error:
        key, reason = kind, Untraceable(str(error))
    if key not in _PLANS:
        _PLANS[key] = reason or _make(layer, sequence, state, weights)
        if isinstance(_PLANS[key], Untraceable):
            warnings.warn(f"{kind.__name__} cannot be compiled, and runs by autograd: {_PLANS[key]}", stacklevel=2)
    return _PLANS[key]


def _make(layer: Any, sequence: Tensor, state: States, weights: Weights) -> Any:
    from seqmodels.layers.compiled.lower import lower
    from seqmodels.layers.compiled.plan import Plan
    from seqmodels.layers.compiled.trace import trace

    try:
        if type(layer).scan is not Cell.scan:
            raise Untraceable("it computes all steps at once")
        if any(part.dim() != 2 for part in state):
            raise Untraceable("its states are not (batch, features)")
        graph = trace(layer, sequence[0], state, weights)
        return Plan(graph, lower(graph), str(sequence.dtype).removeprefix("torch."))
    except Untraceable as reason:
        return reason


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Any, layer: Any, weights: Weights, *given: Tensor) -> Any:
        from seqmodels.layers.compiled.passes import forward

        count = 1 + len(plan.widths)
        used = dict(zip(plan.weights, given[count:], strict=True))
        output, final, kept = forward(plan, given[0], given[1:count], used, keep=True)
        ctx.plan, ctx.layer, ctx.weights = plan, layer, weights
        ctx.set_materialize_grads(False)  # a model that reads the final state alone has none for the output
        ctx.save_for_backward(*given, output, kept)
        return output, *final

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_final: Tensor | None) -> Any:
        from seqmodels.layers.compiled.passes import backward

        plan = ctx.plan
        *given, output, kept = ctx.saved_tensors
        if torch.is_grad_enabled() or operations_are_observed(d_output, *d_final):
            gradients = gradients_by_autograd(partial(_again, ctx), given, (d_output, *d_final))
        else:
            gradients = backward(plan, given, output, kept, d_output, d_final, ctx.needs_input_grad[3:])
        return None, None, None, *gradients


def _again(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
    """The outputs and the final state of a forward pass by autograd."""
    count = 1 + len(ctx.plan.widths)
    weights = Weights(**vars(ctx.weights) | dict(zip(ctx.plan.weights, given[count:], strict=True)))
    output, final = _loop(ctx.layer, given[0], given[1:count], weights)
    return output, *final
