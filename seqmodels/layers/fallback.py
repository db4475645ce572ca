"""Where a backward pass derived by hand applies, and what takes its place elsewhere.

Such a pass writes into tensors that it has allocated. So it serves plain tensors; transforms, compilers, forward-mode
and second derivatives take the same computation by operations that torch can follow.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.forward_ad import unpack_dual


def is_plain(tensors: Sequence[Tensor], dtypes: Collection[torch.dtype]) -> bool:
    """Whether these are tensors of one of the dtypes, on one device, with nothing that observes single operations.

    Not empty, on a CPU or CUDA, outside of autocast, tracing, compiling, forward-mode derivatives and transforms of
    `torch.func`.
    """
    dtype, device = tensors[0].dtype, tensors[0].device
    if (
        device.type not in ("cpu", "cuda")
        or dtype not in dtypes
        or torch.compiler.is_compiling()
        or torch.is_autocast_enabled(device.type)
        or torch.jit.is_tracing()
        or operations_are_observed()
    ):
        return False
    for part in tensors:
        if not (type(part) in PLAIN and part.dtype == dtype and part.device == device and part.numel() > 0):
            return False
    # Outside of a level of forward-mode derivatives, which is a private number, no tensor has a tangent.
    return getattr(forward_ad, "_current_level", 0) < 0 or all(unpack_dual(part).tangent is None for part in tensors)


PLAIN = frozenset((Tensor, torch.nn.Parameter))


def gradients_by_autograd(
    function: Callable[..., tuple[Tensor, ...]], given: Sequence[Tensor], d_outputs: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients of a function's inputs, which autograd can derive once more.

    Args:
        function: computes the outputs from the inputs.
        given: the inputs.
        d_outputs: the gradients of the outputs, None for those that are not used.
    """
    with torch.enable_grad():
        inputs = [part.view_as(part) for part in given]  # separate, even if one tensor is given twice
        computed = function(*inputs)
    wanted = [part for part in inputs if part.requires_grad]
    pairs = [
        (output, gradient)
        for output, gradient in zip(computed, d_outputs, strict=True)
        if gradient is not None and output.requires_grad  # not of a constant, as a decay until the same step is
    ]
    if not pairs:
        return [None] * len(inputs)
    outputs, d_used = zip(*pairs, strict=True)
    gradients = iter(
        torch.autograd.grad(outputs, wanted, d_used, create_graph=torch.is_grad_enabled(), allow_unused=True)
    )
    return [next(gradients) if part.requires_grad else None for part in inputs]


def operations_are_observed(*gradients: Tensor | None) -> bool:
    """Whether a transform or a mode of torch has to see each operation, or several gradients come as one.

    These calls are private: torch has no public ones. They let `torch.func`, FLOP counters and `is_grads_batched`,
    which maps over gradients by a vmap of its own, work as they do with any other layer.
    """
    return (
        torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
        or any("Batched" in torch._C._dispatch_key_set(part) for part in gradients if part is not None)
    )
