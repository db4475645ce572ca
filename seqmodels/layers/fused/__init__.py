"""Whole sequences through one layer in one direction, with a backward pass of our own in place of autograd's.

`fused_scan` is what `RecurrentLayer` calls. It gives the numbers of the plain loop over `step`, or None where only that
loop will do, and the layer takes it instead.
"""

from typing import Any

import torch
from torch import Tensor

from seqmodels.layers.fused.elman import ElmanKernel
from seqmodels.layers.fused.gru import GRUKernel
from seqmodels.layers.fused.kernel import Kernel, State
from seqmodels.layers.fused.lstm import LSTMKernel
from seqmodels.layers.weights import Weights

__all__ = ["ElmanKernel", "GRUKernel", "Kernel", "LSTMKernel", "fused_scan"]


def fused_scan(kernel: Kernel, sequence: Tensor, state: State, weights: Weights) -> tuple[Tensor, State] | None:
    """The outputs (time, batch, features) and the final state; None for what only the loop can do.

    That is all but float32 and float64 on one device, autocast, and whatever follows each operation of the loop:
    transforms of `torch.func`, forward-mode derivatives and tracing. (A layer that is compiled or exported does not
    ask.)
    """
    present = {name: weight for name, weight in vars(weights).items() if weight is not None}
    if not _can_fuse([sequence, *state, *present.values()]):
        return None
    if torch.is_grad_enabled() and any(part.requires_grad for part in (sequence, *state, *present.values())):
        output, *final = _BackPropagation.apply(kernel, len(state), list(present), sequence, *state, *present.values())
        return output, tuple(final)
    output, final, _ = kernel.forward(sequence, state, weights, keep=False)
    return output, final


def _can_fuse(tensors: list[Tensor]) -> bool:
    sequence = tensors[0]
    dtype, device = sequence.dtype, sequence.device
    for part in tensors:
        if type(part) not in (Tensor, torch.nn.Parameter) or part.dtype != dtype or part.device != device:
            return False
    return (
        device.type in ("cpu", "cuda")
        and dtype in (torch.float32, torch.float64)
        and sequence.numel() > 0
        and not torch.is_autocast_enabled(device.type)
        and not torch.jit.is_tracing()
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._len_torch_dispatch_stack()
        and torch.autograd.forward_ad._current_level < 0
    )


class _BackPropagation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernel: Kernel, states: int, names: list[str], sequence: Tensor, *rest: Tensor) -> Any:
        weights = _weights(names, rest[states:])
        output, final, kept = kernel.forward(sequence, rest[:states], weights, keep=True)
        ctx.kernel, ctx.states, ctx.names = kernel, states, names
        ctx.set_materialize_grads(False)  # a model that reads the final state alone has none for the output
        ctx.save_for_backward(sequence, *rest, output, *kept)
        return output, *final

    @staticmethod
    def backward(ctx: Any, d_output: Tensor | None, *d_final: Tensor | None) -> Any:
        saved, count = ctx.saved_tensors, 1 + ctx.states + len(ctx.names)
        given, (output, *kept) = saved[:count], saved[count:]
        # With `is_grads_batched` torch runs this under a vmap of its own, which knows no operation with out=.
        given_back = [part for part in (d_output, *d_final) if part is not None]
        batched = any("Batched" in torch._C._dispatch_key_set(part) for part in given_back)
        if torch.is_grad_enabled() or batched:
            return None, None, None, *_by_autograd(ctx, given, (d_output, *d_final))
        sequence, state, weights = given[0], given[1 : 1 + ctx.states], _weights(ctx.names, given[1 + ctx.states :])
        d_sequence, d_state, d_weights = ctx.kernel.backward(
            sequence, state, weights, output, kept, d_output, d_final, ctx.needs_input_grad[3]
        )
        return None, None, None, d_sequence, *d_state, *(d_weights[name] for name in ctx.names)


def _weights(names: list[str], values: tuple[Tensor, ...]) -> Weights:
    return Weights(**{"bias_ih": None, "bias_hh": None} | dict(zip(names, values, strict=True)))


def _by_autograd(ctx: Any, given: tuple[Tensor, ...], d_outputs: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """The gradients through the plain loop, which autograd can derive once more, for second derivatives."""
    layer = ctx.kernel.layer
    with torch.enable_grad():
        inputs = [part.view_as(part) for part in given]  # apart, where one tensor is given twice
        sequence, state, weights = inputs[0], inputs[1 : 1 + ctx.states], inputs[1 + ctx.states :]
        named = _weights(ctx.names, tuple(weights))
        output, final = layer.scan(layer.project(sequence, named), tuple(state), named)
    wanted = [part for part in inputs if part.requires_grad]
    pairs = [pair for pair in zip((output, *final), d_outputs, strict=True) if pair[1] is not None]
    outputs, d_outputs = zip(*pairs, strict=True)
    gradients = iter(
        torch.autograd.grad(outputs, wanted, d_outputs, create_graph=torch.is_grad_enabled(), allow_unused=True)
    )
    return [next(gradients) if part.requires_grad else None for part in inputs]
