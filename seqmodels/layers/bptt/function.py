"""A kernel as one node of autograd's graph."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers.bptt.kernel import Kernel
from seqmodels.layers.cell import States, Weights
from seqmodels.layers.fallback import gradients_by_autograd, is_plain, operations_are_observed

Loop = Callable[[Tensor, States, Weights], tuple[Tensor, States]]
"""A function (sequence, state, weights) that returns the outputs and the final state, by autograd."""


def bptt_applies(sequence: Tensor, state: States, weights: Weights) -> bool:
    """Whether a kernel can compute these tensors; for all others there is autograd."""
    present = (weight for weight in vars(weights).values() if weight is not None)
    return is_plain((sequence, *state, *present), (torch.float32, torch.float64))


def bptt_scan(kernel: Kernel, loop: Loop, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
    """The outputs (time, batch, features) and the final state of tensors to which `bptt_applies`.

    `loop` computes the same by autograd, which second derivatives need.
    """
    present = {name: weight for name, weight in vars(weights).items() if weight is not None}
    tensors = (sequence, *state, *present.values())
    if torch.is_grad_enabled() and any(part.requires_grad for part in tensors):
        output, *final = _BackPropagation.apply(kernel, loop, len(state), list(present), *tensors)
        return output, tuple(final)
    output, final, _ = kernel.forward(sequence, state, weights, keep=False)
    return output, final


class _BackPropagation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernel: Kernel, loop: Loop, states: int, names: list[str], sequence: Tensor, *rest: Tensor
    ) -> Any:
        output, final, kept = kernel.forward(sequence, rest[:states], _weights(names, rest[states:]), keep=True)
        ctx.kernel, ctx.loop, ctx.states, ctx.names = kernel, loop, states, names
        ctx.set_materialize_grads(False)  # a model that reads the final state alone has none for the output
        ctx.save_for_backward(sequence, *rest, output, *kept)
        return output, *final

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_final: Tensor | None) -> Any:
        saved, count = ctx.saved_tensors, 1 + ctx.states + len(ctx.names)
        given, (output, *kept) = saved[:count], saved[count:]
        if torch.is_grad_enabled() or operations_are_observed(d_output, *d_final):
            return None, None, None, None, *gradients_by_autograd(partial(_loop, ctx), given, (d_output, *d_final))
        sequence, state, weights = given[0], given[1 : 1 + ctx.states], _weights(ctx.names, given[1 + ctx.states :])
        d_sequence, d_state, d_weights = ctx.kernel.backward(
            sequence, state, weights, output, kept, d_output, d_final, ctx.needs_input_grad[4]
        )
        return None, None, None, None, d_sequence, *d_state, *(d_weights[name] for name in ctx.names)


def _loop(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
    """The outputs and the final state of a forward pass by autograd."""
    sequence, state, weights = given[0], given[1 : 1 + ctx.states], given[1 + ctx.states :]
    output, final = ctx.loop(sequence, state, _weights(ctx.names, weights))
    return output, *final


def _weights(names: list[str], values: tuple[Tensor, ...]) -> Weights:
    return Weights(**{"bias_ih": None, "bias_hh": None} | dict(zip(names, values, strict=True)))
