"""A compiled pass as one node of autograd's graph."""

import warnings
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers.bptt.products import outer
from seqmodels.layers.cell import Cell, States, Weights
from seqmodels.layers.compiled.codegen import Source
from seqmodels.layers.compiled.plan import Evaluation, Plan
from seqmodels.layers.compiled.trace import Untraceable, attributes
from seqmodels.layers.fallback import gradients_by_autograd, is_plain, operations_are_observed

_PLANS: dict[Any, "Plan | Untraceable"] = {}


def compiled_scan(layer: Any, projected: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    """All steps of a cell, as `Cell.scan` computes them, by compiled code where that is possible.

    Warns:
        UserWarning: once for each kind of cell, that its step cannot be compiled, and why.
    """
    present = {name: weight for name, weight in vars(weights).items() if weight is not None}
    if (
        projected.device.type != "cpu"
        or type(layer).scan is not Cell.scan
        or not is_plain((projected, *state, *present.values()), (torch.float32, torch.float64))
        or any(part.dim() != 2 for part in state)
        or projected.dim() != 3
    ):
        return layer.scan(projected, state, weights)
    plan = plan_of(layer, projected, state, weights)
    if isinstance(plan, Untraceable):
        return layer.scan(projected, state, weights)
    used = {name: weight for name, weight in present.items() if plan.trace.weights[name].users}
    tensors = (projected, *state, *used.values())
    if torch.is_grad_enabled() and any(part.requires_grad for part in tensors):
        output, *final = _Compiled.apply(plan, layer, weights, list(used), *tensors)
        return output, tuple(final)
    with torch.no_grad():
        output, final, _ = forward(plan, projected, state, used, keep=False)
    return output, final


def plan_of(layer: Any, projected: Tensor, state: States, weights: Weights) -> Plan | Untraceable:
    """The plan for a cell and sizes, or why there is none."""
    kind = type(layer)
    try:
        shapes = tuple((name, None if part is None else part.shape) for name, part in vars(weights).items())
        widths = projected.shape[-1], *(part.shape[-1] for part in state)
        key = kind, kind.step, kind.advance, attributes(layer), shapes, widths, projected.dtype
        if key in _PLANS:
            return _PLANS[key]
    except (Untraceable, TypeError) as error:
        key, reason = (kind, "attributes"), error
        if key in _PLANS:
            return _PLANS[key]
        _PLANS[key] = Untraceable(str(reason))
    else:
        try:
            _PLANS[key] = _make(layer, projected[0], state, weights)
        except Untraceable as error:
            _PLANS[key] = error
    plan = _PLANS[key]
    if isinstance(plan, Untraceable):
        warnings.warn(f"{kind.__name__}.step cannot be compiled, and runs by autograd: {plan}", stacklevel=2)
    return plan


def _make(layer: Any, projected: Tensor, state: States, weights: Weights) -> Plan:
    from seqmodels.layers.compiled.lower import lower
    from seqmodels.layers.compiled.trace import trace

    graph = trace(layer, projected, state, weights)
    return Plan(graph, lower(graph), str(projected.dtype).removeprefix("torch."))


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, layer: Any, weights: Weights, names: list[str], *given: Tensor) -> Any:
        count = len(plan.widths)
        projected, state, used = given[0], given[1 : 1 + count], dict(zip(names, given[1 + count :], strict=True))
        output, final, kept = forward(plan, projected, state, used, keep=True)
        ctx.plan, ctx.layer, ctx.weights, ctx.names = plan, layer, weights, names
        ctx.set_materialize_grads(False)  # a model that reads the final state alone has none for the output
        ctx.save_for_backward(*given, output, *kept)
        return output, *final

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_final: Tensor | None) -> Any:
        plan, saved = ctx.plan, ctx.saved_tensors
        count = 1 + len(plan.widths) + len(ctx.names)
        given, kept = saved[:count], saved[count:]
        if torch.is_grad_enabled() or operations_are_observed(d_output, *d_final):
            gradients = gradients_by_autograd(partial(_loop, ctx), given, (d_output, *d_final))
        else:
            gradients = backward(plan, given, ctx.names, kept, d_output, d_final, ctx.needs_input_grad[4:])
        return None, None, None, None, *gradients


def _loop(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
    """The outputs and the final state of a forward pass by autograd."""
    count = 1 + len(ctx.plan.widths)
    weights = Weights(**vars(ctx.weights) | dict(zip(ctx.names, given[count:], strict=True)))
    output, final = ctx.layer.scan(given[0], given[1:count], weights)
    return output, *final


def forward(
    plan: Plan, projected: Tensor, state: States, weights: dict[str, Tensor], keep: bool
) -> tuple[Tensor, States, list[Tensor]]:
    """The output, the final state, and what `backward` needs beside the output: later states, then `plan.kept`."""
    time, batch, _ = projected.shape
    buffers = {"projected": projected.contiguous()}
    buffers |= {f"before{at}": part.contiguous() for at, part in enumerate(state)}
    slots = [time if keep or at == 0 else 2 for at in range(len(state))]
    for at, (count, width) in enumerate(zip(slots, plan.widths, strict=True)):
        buffers[f"after{at}"] = projected.new_empty(count, batch, width)
    for name, width in plan.kept.items():
        buffers[name] = projected.new_empty(time if keep else 1, batch, width)
    _run(plan.forward, Evaluation(plan, weights), buffers, slots, time, batch)
    after = [buffers[f"after{at}"] for at in range(len(state))]
    final = tuple(part[(time - 1) % count].clone() for part, count in zip(after, slots, strict=True))
    return after[0], final, [*after[1:], *(buffers[name] for name in plan.kept)] if keep else []


def backward(
    plan: Plan, given: tuple[Tensor, ...], names: list[str], kept: tuple[Tensor, ...], d_output: Tensor | None,
    d_final: tuple[Tensor | None, ...], needed: tuple[bool, ...],
) -> list[Tensor | None]:  # fmt: skip
    """The gradients of `given`."""
    projected, count = given[0], len(plan.widths)
    time, batch, _ = projected.shape
    state, weights = given[1 : 1 + count], dict(zip(names, given[1 + count :], strict=True))
    after = kept[:count]
    buffers = {"projected": projected.contiguous()}
    buffers |= {f"before{at}": part.contiguous() for at, part in enumerate(state)}
    buffers |= {f"after{at}": part for at, part in enumerate(after)}
    buffers |= dict(zip(plan.kept, kept[count:], strict=True))
    buffers["d_projected"] = projected.new_empty(projected.shape)
    if d_output is None:
        buffers["d_output"] = projected.new_zeros(1, batch, plan.widths[0])
    else:
        buffers["d_output"] = d_output.contiguous()
    for at, (width, final) in enumerate(zip(plan.widths, d_final, strict=True)):
        carried = projected.new_zeros(2, batch, width)
        if final is not None:
            carried[time % 2] = final
        buffers[f"d_before{at}"] = buffers[f"d_after{at}"] = carried
    buffers |= {name: projected.new_empty(time, batch, width) for name, width in plan.rows.items()}
    buffers |= {name: projected.new_zeros(width) for name, width in plan.sums.items()}
    evaluation = Evaluation(plan, weights)
    _run(plan.backward, evaluation, buffers, [time] * count, time, batch)

    gradients: list[Tensor | None] = [None if plan.step.d_projected is None else buffers["d_projected"]]
    gradients += [buffers[f"d_before{at}"][0] for at in range(count)]
    weighted = {name: node for name, node in plan.step.d_weights.items() if name in weights}
    wanted = dict(zip(names, needed[1 + count :], strict=True))
    _totals(plan, evaluation, buffers, [weighted[name] for name in names if wanted[name] and weighted[name] is not None])
    for name in names:
        node = weighted[name]
        gradients.append(evaluation(node) if wanted[name] and node is not None else None)
    return gradients


def _totals(plan: Plan, evaluation: Evaluation, buffers: dict[str, Tensor], wanted: list[Any]) -> None:
    """Sum over the steps what the gradients of weights are computed from."""
    stack = list(wanted)
    while stack:
        node = stack.pop()
        if node in evaluation.values:
            continue
        if node in plan.factors:
            shape = node.meta["val"].shape
            evaluation.values[node] = _total(plan.factors[node], plan.step.totals[node], buffers).view(shape)
        else:
            stack.extend(node.all_input_nodes)


def _total(places: tuple[Any, ...], values: tuple[Any, ...], buffers: dict[str, Tensor]) -> Tensor:
    """The sum of rows, or of outer products of rows, over the batch and all steps."""
    if places[0].buffer.startswith("total"):
        return buffers[places[0].buffer]
    parts = [part for place, value in zip(places, values, strict=True) for part in [_columns(place, value.width, buffers)]]
    if len(parts) == 1:
        return sum((part.sum((0, 1)) for part in parts[0][1:]), parts[0][0].sum((0, 1)))
    left, right = parts
    total = left[0].new_zeros(values[0].width, values[1].width)
    for a, b in _matched(left, right):
        outer(a.reshape(-1, a.size(-1)), b.reshape(-1, b.size(-1)), total)
    return total


def _columns(place: Any, width: int, buffers: dict[str, Tensor]) -> list[Tensor]:
    """Rows (steps, batch, width) for all steps, in one piece, or the first step and the others."""
    columns = slice(place.start, place.start + width)
    if place.buffer.startswith("before"):
        initial, after = buffers[place.buffer], buffers["after" + place.buffer.removeprefix("before")]
        return [initial.unsqueeze(0)[..., columns], after[:-1][..., columns]]
    return [buffers[place.buffer][..., columns]]


def _matched(left: list[Tensor], right: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Pieces of equal lengths."""
    if len(left) == len(right):
        pairs = list(zip(left, right, strict=True))
    elif len(left) == 2:
        pairs = [(left[0], right[0][:1]), (left[1], right[0][1:])]
    else:
        pairs = [(left[0][:1], right[0]), (left[0][1:], right[1])]
    return [(a, b) for a, b in pairs if len(a) > 0]


def _run(source: Source, evaluation: Evaluation, buffers: dict[str, Tensor], slots: list[int], time: int, batch: int) -> None:
    import numpy as np

    from seqmodels.layers.compiled.cache import load

    like = buffers["projected"]
    item = like.element_size()
    for name in source.buffers:
        if name.startswith("scratch"):
            buffers[name] = like.new_empty(1, batch, source.schedule.buffers[name])
    tensors = [buffers[name] for name in source.buffers]
    constants = [evaluation.constant(name) for name, _, _ in source.matrices]
    constants += [evaluation.constant(name) for name in source.vectors]
    addresses = [part.data_ptr() for part in (*tensors, *constants)]
    strides = [
        0 if part.dim() < 3 or len(part) == 1 and not name.startswith(("after", "d_")) else batch * part.shape[-1] * item
        for name, part in zip(source.buffers, tensors, strict=True)
    ]
    strides = [0 if name == "d_output" and len(part) == 1 else stride for name, part, stride in zip(source.buffers, tensors, strides, strict=True)]
    counts = [slots[int(name.removeprefix("after"))] for name in source.buffers if name.startswith("after")]
    sizes = [time, batch, *strides, *counts, *source.numbers]
    load(source.text)(np.array(addresses, np.int64), np.array(sizes, np.int64))
