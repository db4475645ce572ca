"""One step of a cell, and its vector-Jacobian product, as a graph of tensor operations.

`trace` runs `project` and `advance` once on a small batch and records the operations of torch that they call, then lets
autograd derive the gradients, and records that, too. What depends on more than its arguments is refused: values of
tensors that steer Python, random numbers, tensors of the layer that are no weights.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from seqmodels.layers.cell import States, Weights

BATCHES = (43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103)
"""The batch is the first of these that is no other size, so that it is known wherever it appears."""

COMPOSITE = (
    *("leaky_relu", "elu", "gelu", "hardtanh", "hardsigmoid", "hardswish", "silu", "softplus", "mish"),
    *("_softmax", "_log_softmax", "linalg_vector_norm"),
)
"""Functions that are taken apart, beside those that torch takes apart by itself."""

Constant = int | float | bool | str | type | torch.dtype | torch.device | None


class Untraceable(Exception):
    """Why a step cannot be compiled."""


@dataclass
class Trace:
    """Nodes of the graph by their roles. A gradient is None where nothing depends on its input."""

    nodes: list[fx.Node]
    constants: dict[str, Tensor]
    batch: int
    sequence: fx.Node
    state: list[fx.Node]
    weights: dict[str, fx.Node]
    d_after: list[fx.Node]
    after: list[fx.Node]
    d_sequence: fx.Node | None
    d_state: list[fx.Node | None]
    d_weights: dict[str, fx.Node | None]


def trace(layer: Any, sequence: Tensor, state: States, weights: Weights) -> Trace:
    """The graph of a step for tensors of these widths and this dtype.

    Raises:
        Untraceable: a step depends on more than its arguments.
    """
    from torch._decomp import core_aten_decompositions, get_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    present = {name: weight for name, weight in vars(weights).items() if weight is not None}
    missing = dict.fromkeys(name for name, weight in vars(weights).items() if weight is None)
    sizes = {size for part in (sequence, *state, *present.values()) for size in part.shape[-2:]}
    sizes |= {size for part in present.values() for size in part.shape}
    batch = next(number for number in BATCHES if number not in sizes)
    count = len(state)
    like: dict[str, Any] = {"dtype": sequence.dtype, "device": sequence.device}

    def joint(*given: Tensor) -> Any:
        inputs, d_after = [part.detach().requires_grad_() for part in given[:-count]], given[-count:]
        values = dict(zip(present, inputs[1 + count :], strict=True))
        with _Reads(), _Watch():
            names = Weights(**missing, **values)
            after = layer.advance(layer.project(inputs[0], names), tuple(inputs[1 : 1 + count]), names)
            depending = [pair for pair in zip(after, d_after, strict=True) if pair[0].requires_grad]
            if not depending:
                raise Untraceable("its states do not depend on its arguments")
            outputs, d_outputs = zip(*depending, strict=True)
            gradients = torch.autograd.grad(outputs, inputs, d_outputs, allow_unused=True)
        return list(after), list(gradients)

    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        example = [torch.zeros(batch, part.shape[-1], **like) for part in (sequence, *state)]
        example += [torch.zeros(weight.shape, **like) for weight in present.values()]
        example += [torch.zeros(batch, part.shape[-1], **like) for part in state]
        operators = [getattr(torch.ops.aten, name) for name in COMPOSITE]
        table: Any = core_aten_decompositions()
        table.update(get_decompositions(operators))
        before = attributes(layer)
        try:
            module = make_fx(joint, decomposition_table=table)(*example)
        except Untraceable:
            raise
        except Exception as error:
            raise Untraceable(str(error).split("\n")[0] or type(error).__name__) from error
        if attributes(layer) != before:
            raise Untraceable("it changes attributes of the layer")
    module.graph.eliminate_dead_code()
    nodes = list(module.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    after, gradients = nodes[-1].args[0]
    return Trace(
        nodes=nodes[:-1],
        constants=dict(module.named_buffers())
        | {name: part for name, part in vars(module).items() if "_tensor_const" in name},
        batch=batch,
        sequence=inputs[0],
        state=inputs[1 : 1 + count],
        weights=dict(zip(present, inputs[1 + count : -count], strict=True)),
        d_after=inputs[-count:],
        after=after,
        d_sequence=gradients[0],
        d_state=gradients[1 : 1 + count],
        d_weights=dict(zip(present, gradients[1 + count :], strict=True)),
    )


def attributes(layer: nn.Module) -> tuple[Any, ...]:
    """What a step may depend on beside its arguments: the attributes of the layer and its submodules.

    Raises:
        Untraceable: one of them can change unnoticed.
    """
    own = tuple((name, _frozen(name, value)) for name, value in vars(layer).items() if name not in INTERNAL)
    if layer._modules:
        if any(hooks and name.endswith("_hooks") for part in layer._modules.values() for name, hooks in _vars(part)):
            raise Untraceable("a module in it has hooks")
        return own + tuple(
            (name, type(part), attributes(part)) for name, part in layer._modules.items() if part is not None
        )
    return own


def _vars(module: nn.Module | None) -> Iterable[tuple[str, Any]]:
    return () if module is None else vars(module).items()


INTERNAL = frozenset(vars(nn.Module())) - {"training"}


def _frozen(name: str, value: Any) -> Any:
    """A hashable copy, in which 1, 1.0 and True differ."""
    kind = type(value)
    if kind in (str, type(None)):
        return value
    if kind in (int, float, bool):
        return kind, value
    if kind in (tuple, list):
        return kind, *(_frozen(name, part) for part in value)
    if kind is dict:
        return tuple((_frozen(name, key), _frozen(name, part)) for key, part in value.items())
    if (
        isinstance(value, type | torch.dtype | torch.device | BuiltinFunctionType)
        or getattr(value, "__closure__", ...) is None
    ):
        return value
    raise Untraceable(f"its attribute {name} is of the type {kind.__name__}, which can change unnoticed")


class _Reads(TorchFunctionMode):
    """Refuses methods that read the numbers in a tensor, also in one of the layer."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__name__", "") in READS:
            raise Untraceable("it reads the value of a tensor")
        return function(*args, **(kwargs or {}))


READS = frozenset(("item", "tolist", "numpy", "__array__", "__bool__", "__int__", "__float__", "__index__", "data_ptr"))


class _Watch(TorchDispatchMode):
    """Refuses operations whose result depends on more than their arguments, or steers Python."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten._local_scalar_dense.default:
            raise Untraceable("it reads the value of a tensor")
        if torch.Tag.nondeterministic_seeded in function.tags:
            raise Untraceable("it draws random numbers")
        return function(*args, **(kwargs or {}))
