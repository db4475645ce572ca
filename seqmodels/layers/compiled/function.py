"""A compiled pass as one node of autograd's graph."""

import operator
import threading
import warnings
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from seqmodels.layers.cell import Cell, States, Weights
from seqmodels.layers.compiled import passes
from seqmodels.layers.compiled.lower import lower
from seqmodels.layers.compiled.plan import Plan
from seqmodels.layers.compiled.surroundings import is_constant, surroundings_of
from seqmodels.layers.compiled.trace import INTERNAL, Untraceable, attributes, trace
from seqmodels.layers.fallback import gradients_by_autograd, is_plain, operations_are_observed

_LOCK = threading.RLock()
"""Threads trace one after the other, as torch's tracing is not made for more."""

_PLANS: dict[Any, Any] = {}
"""The plan of each kind of cell, or why it has none."""


def compiled_scan(layer: Any, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    """All steps of a cell by compiled code, or by autograd where that is not possible.

    Args:
        layer: the cell.
        sequence: its inputs (time, batch, features), before `project`.
        state: the initial states (batch, features).
        weights: those of one layer in one direction.

    Returns:
        The outputs (time, batch, features), and the final states (1, batch, features).

    Warns:
        UserWarning: once for each kind of cell, that its step cannot be compiled, and why.
    """
    present = [weight for weight in vars(weights).values() if weight is not None]
    tensors = (sequence, *state, *present)
    if sequence.device.type == "cpu" and is_plain(tensors, (torch.float32, torch.float64)):
        plan = plan_of(layer, sequence, state, weights)
        if not isinstance(plan, Untraceable):
            return _scan(plan, layer, sequence, state, weights)
    return _loop(layer, sequence, state, weights)


def _scan(plan: Any, layer: Any, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    given = vars(weights)
    used = {name: given[name] for name in plan.weights}
    if torch.is_grad_enabled():
        tensors = (sequence, *state, *used.values())
        if any(part.requires_grad for part in tensors):
            output, *final = _apply(plan, layer, weights, *tensors)
            return output, tuple(final)
        with torch.no_grad():
            return passes.forward(plan, sequence, state, used, keep=False)[:2]
    return passes.forward(plan, sequence, state, used, keep=False)[:2]


def _loop(layer: Any, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    output, final = layer.scan(layer.project(sequence, weights), state, weights)
    return output, tuple(part.unsqueeze(0) for part in final)


def plan_of(layer: Any, sequence: Tensor, state: States, weights: Weights) -> Any:
    """The plan for a cell and sizes, or why there is none."""
    memory = _MEMORIES.get(layer)
    if memory is None or not memory.still_holds(layer):
        memory = _MEMORIES[layer] = _Memory(layer)
    key: Any = (
        *(None if part is None else part.shape for part in vars(weights).values()),
        *(sequence.dtype, sequence.shape[-1], len(state)),
        *[part.shape[-1] for part in state],
        *[part.dim() for part in state],
    )
    plan = memory.plans.get(key)
    if plan is None:
        with _LOCK:
            plan = memory.plans[key] = _shared_plan(layer, sequence, state, weights)
    return plan


class _Memory:
    """The plans of a layer, as long as it is as it was.

    Plans depend on attributes, and on what its methods look up. If all attributes are constants, it is enough to see
    that they are still the same objects.
    """

    def __init__(self, layer: Any) -> None:
        self.plans: dict[Any, Any] = {}
        self.kind, self.surroundings = type(layer), surroundings_of(layer)
        self.names = tuple(vars(layer))
        self.look = operator.itemgetter("training", *(name for name in self.names if name not in INTERNAL))
        self.values = self.look(vars(layer))
        self.lasts = all(map(is_constant, self.values))

    def still_holds(self, layer: Any) -> bool:
        now = vars(layer)
        return (
            self.lasts
            and type(layer) is self.kind
            and not layer._modules
            and self.names == tuple(now)
            and all(map(operator.is_, self.values, self.look(now)))
            and self.surroundings.still_hold()
        )


_MEMORIES: WeakKeyDictionary[Any, _Memory] = WeakKeyDictionary()


def _shared_plan(layer: Any, sequence: Tensor, state: States, weights: Weights) -> Any:
    """The plan that all layers of this kind share."""
    kind = type(layer)
    shapes = tuple((name, None if part is None else part.shape) for name, part in vars(weights).items())
    widths = sequence.shape[-1], *(part.shape[-1] for part in state)
    key: Any = kind, shapes, widths, sequence.dtype
    reason = None
    try:
        surroundings = surroundings_of(layer)
        if surroundings.reason is not None:
            raise surroundings.reason
        key = *key, surroundings.values, attributes(layer)
        hash(key)
    except (Untraceable, TypeError) as error:
        key, reason = kind, Untraceable(str(error))
    if key not in _PLANS:
        _PLANS[key] = reason or _make(layer, sequence, state, weights)
        if isinstance(_PLANS[key], Untraceable):
            warnings.warn(f"{kind.__name__} cannot be compiled, and runs by autograd: {_PLANS[key]}", stacklevel=2)
    return _PLANS[key]


def _make(layer: Any, sequence: Tensor, state: States, weights: Weights) -> Any:
    try:
        if type(layer).scan is not Cell.scan:
            raise Untraceable("it computes all steps at once")
        if any(part.dim() != 2 for part in state):
            raise Untraceable("its states are not (batch, features)")
        graph = trace(layer, sequence[0], state, weights)
        plan = Plan(graph, lower(graph), str(sequence.dtype).removeprefix("torch."))
        _compare(plan, layer, sequence, state, weights)
        return plan
    except Untraceable as reason:
        return reason
    except Exception as error:  # a gap in the compiler should not be the end of a user's program
        return Untraceable(f"compiling it failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _compare(plan: Plan, layer: Any, sequence: Tensor, state: States, weights: Weights) -> None:
    """Compare a new plan with the layer itself: results and gradients, with numbers of sequences and steps of its own.

    A trace takes sizes for constants: it cannot tell a division by `len(state)` from one by a number.

    Raises:
        Untraceable: they differ.
    """
    tolerance = 1e-6 if sequence.dtype == torch.float64 else 1e-2
    for batch in (1, 3, 9):
        generator = torch.Generator().manual_seed(batch)
        noise = partial(torch.randn, generator=generator, dtype=sequence.dtype)
        with torch.inference_mode(False), torch.no_grad():
            inputs = noise(3, batch, sequence.size(-1))
            before = [part[:1].repeat(batch, 1) for part in state]
            used = {name: getattr(weights, name).nan_to_num() for name in plan.weights}
            used = {name: weight + 0.1 * noise(weight.shape) for name, weight in used.items()}
            given = [inputs, *before, *used.values()]
            output, final, kept = passes.forward(plan, inputs, before, used, True)
            d_outputs = [noise(part.shape) for part in (output, *final)]
            everything = [True] * len(given)
            gradients = passes.backward(plan, given, output, kept, d_outputs[0], d_outputs[1:], everything)
        with torch.inference_mode(False), torch.enable_grad():
            leaves = [part.clone().requires_grad_() for part in given]
            names = Weights(**vars(weights) | dict(zip(plan.weights, leaves[1 + len(before) :], strict=True)))
            results = _by_steps(layer, leaves[0], tuple(leaves[1 : 1 + len(before)]), names)
            differentiable = [part for part in results if part.requires_grad]
            d_used = [d_output for part, d_output in zip(results, d_outputs, strict=True) if part.requires_grad]
            expected: Any = [None] * len(leaves)
            if differentiable:
                expected = torch.autograd.grad(differentiable, leaves, d_used, allow_unused=True)
        agrees = partial(_agrees, tolerance=tolerance)
        if not all(map(agrees, (output, *final), results)):
            raise Untraceable("compiled code computes other results, as where they depend on the number of sequences")
        if not all(map(agrees, gradients, expected)):
            raise Untraceable("compiled code computes other gradients")


def _by_steps(layer: Any, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, ...]:
    output, final = layer.scan(layer.project(sequence, weights), state, weights)
    return output, *(part.unsqueeze(0) for part in final)


def _agrees(mine: Tensor | None, other: Tensor | None, tolerance: float) -> bool:
    """Whether they are equal, up to a share of the largest entry. None stands for zeros."""
    if mine is None or other is None:
        return all(part is None or not part.any() for part in (mine, other))
    largest = other.detach().nan_to_num(posinf=0, neginf=0).abs().max().item()
    return torch.allclose(mine, other, rtol=tolerance, atol=tolerance * max(largest, 1e-6), equal_nan=True)


class _Compiled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Any, layer: Any, weights: Weights, *given: Tensor) -> Any:
        count = 1 + len(plan.widths)
        used = dict(zip(plan.weights, given[count:], strict=True))
        output, final, kept = passes.forward(plan, given[0], given[1:count], used, keep=True)
        ctx.plan, ctx.layer, ctx.weights = plan, layer, weights
        ctx.set_materialize_grads(False)  # a model that reads the final state alone has none for the output
        ctx.save_for_backward(*given, output, kept)
        return output, *final

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_final: Tensor | None) -> Any:
        plan = ctx.plan
        *given, output, kept = ctx.saved_tensors
        if torch.is_grad_enabled() or operations_are_observed(d_output, *d_final):
            gradients = gradients_by_autograd(partial(_again, ctx), given, (d_output, *d_final))
        else:
            gradients = passes.backward(plan, given, output, kept, d_output, d_final, ctx.needs_input_grad[3:])
        return None, None, None, *gradients


_apply: Any = super(torch.autograd.Function, _Compiled).apply
"""`_Compiled.apply` without its search for transforms of `torch.func`, which `is_plain` has made."""


def _again(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
    """The outputs and the final state of a forward pass by autograd."""
    count = 1 + len(ctx.plan.widths)
    if plan_of(ctx.layer, given[0], given[1:count], ctx.weights) is not ctx.plan:
        raise RuntimeError(f"{type(ctx.layer).__name__} has changed between its forward and its backward pass")
    weights = Weights(**vars(ctx.weights) | dict(zip(ctx.plan.weights, given[count:], strict=True)))
    output, final = _loop(ctx.layer, given[0], given[1:count], weights)
    return output, *final
