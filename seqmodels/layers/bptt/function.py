"""A kernel as one node of autograd's graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from seqmodels.layers.bptt.kernel import Kernel
from seqmodels.layers.cell import States, Weights

Loop = Callable[[Tensor, States, Weights], tuple[Tensor, States]]
"""A function (sequence, state, weights) that returns the outputs and the final state, by autograd."""


def bptt_applies(sequence: Tensor, state: States, weights: Weights) -> bool:
    """Whether a kernel can compute these tensors; for all others there is autograd.

    It can in float32 and float64 on one device, a CPU or CUDA, outside of autocast, as long as nothing observes
    the single operations of a step, as tracing, forward-mode derivatives and transforms of `torch.func` do.
    """
    dtype, device = sequence.dtype, sequence.device
    if (
        device.type not in ("cpu", "cuda")
        or dtype not in (torch.float32, torch.float64)
        or sequence.numel() == 0
        or torch.is_autocast_enabled(device.type)
        or torch.jit.is_tracing()
        or _operations_are_observed()
    ):
        return False
    tensors = [sequence, *state, *(weight for weight in vars(weights).values() if weight is not None)]
    return all(
        type(part) in (Tensor, torch.nn.Parameter)
        and part.dtype == dtype
        and part.device == device
        and unpack_dual(part).tangent is None
        for part in tensors
    )


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
        if torch.is_grad_enabled() or _operations_are_observed(d_output, *d_final):
            return None, None, None, None, *_by_autograd(ctx, given, (d_output, *d_final))
        sequence, state, weights = given[0], given[1 : 1 + ctx.states], _weights(ctx.names, given[1 + ctx.states :])
        d_sequence, d_state, d_weights = ctx.kernel.backward(
            sequence, state, weights, output, kept, d_output, d_final, ctx.needs_input_grad[4]
        )
        return None, None, None, None, d_sequence, *d_state, *(d_weights[name] for name in ctx.names)


def _weights(names: list[str], values: tuple[Tensor, ...]) -> Weights:
    return Weights(**{"bias_ih": None, "bias_hh": None} | dict(zip(names, values, strict=True)))


def _by_autograd(ctx: Any, given: tuple[Tensor, ...], d_outputs: tuple[Tensor | None, ...]) -> list[Tensor | None]:
    """The gradients through the loop, which autograd can derive once more, for second derivatives."""
    with torch.enable_grad():
        inputs = [part.view_as(part) for part in given]  # separate, even if one tensor is given twice
        sequence, state, weights = inputs[0], inputs[1 : 1 + ctx.states], inputs[1 + ctx.states :]
        output, final = ctx.loop(sequence, tuple(state), _weights(ctx.names, tuple(weights)))
    wanted = [part for part in inputs if part.requires_grad]
    pairs = [pair for pair in zip((output, *final), d_outputs, strict=True) if pair[1] is not None]
    outputs, d_outputs = zip(*pairs, strict=True)
    gradients = iter(
        torch.autograd.grad(outputs, wanted, d_outputs, create_graph=torch.is_grad_enabled(), allow_unused=True)
    )
    return [next(gradients) if part.requires_grad else None for part in inputs]


def _operations_are_observed(*gradients: Tensor | None) -> bool:
    """Whether a transform or a mode of torch has to see each operation, or several gradients come as one.

    These calls are private: torch has no public ones. They let `torch.func`, FLOP counters and
    `is_grads_batched`, which maps over gradients by a vmap of its own, work as they do with any other layer; kernels
    write into tensors that they have allocated, which none of these supports.
    """
    return (
        torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or any("Batched" in torch._C._dispatch_key_set(part) for part in gradients if part is not None)
    )
