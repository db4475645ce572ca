"""Checks of the tensors that a layer is called with; they raise the types of errors that `torch.nn.RNN` raises."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def check_dimensions(input: Any) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"input should be a Tensor or a PackedSequence, got {type(input).__name__}")
    if input.dim() not in (2, 3):
        raise ValueError(f"input should be 2D or 3D, got {input.dim()}D")


def check_precision(layer: Any, dtype: torch.dtype) -> None:
    """Check that weights are of single or double precision, if a part of the layer needs that."""
    if layer.precise_part and dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"{type(layer).__name__} computes with {layer.precise_part}, which need weights of single or double "
            f"precision, torch.float32 or torch.float64, got {dtype}"
        )


def check_features(layer: Any, sequence: Tensor, dtype: torch.dtype) -> None:
    """Check that inputs, with features last, have the width and the dtype of the weights."""
    if sequence.size(-1) != layer.input_size:
        raise RuntimeError(f"input.size(-1) should be input_size={layer.input_size}, got {sequence.size(-1)}")
    if sequence.dtype != dtype and not torch.is_autocast_enabled(sequence.device.type):
        raise ValueError(f"input should have the dtype of the weights, {dtype}, got {sequence.dtype}")


def given_states(layer: Any, hx: Any, dimensions: int) -> tuple[Tensor, ...] | None:
    """The initial state as a tuple, once its number of tensors and their numbers of dimensions are checked."""
    if hx is None:
        return None
    names = ", ".join(layer.states)
    state = hx if isinstance(hx, tuple | list) else (hx,)
    if len(state) != len(layer.states) or (len(state) > 1) != isinstance(hx, tuple | list):
        expected = f"a tuple ({names})" if len(layer.states) > 1 else f"one tensor {names}"
        found = f"a tuple of {len(state)}" if isinstance(hx, tuple | list) else "one tensor"
        raise RuntimeError(f"the state hx should be {expected}, got {found}")
    for name, part in zip(layer.states, state, strict=True):
        if not isinstance(part, Tensor):
            raise TypeError(f"the state {name} should be a Tensor, got {type(part).__name__}")
        if part.dim() != dimensions:
            kind = "a single (2D) sequence" if dimensions == 2 else "a batch of sequences"
            raise RuntimeError(f"the state {name} of {kind} should be {dimensions}D, got {part.dim()}D")
    return tuple(state)


def check_states(layer: Any, sequence: Tensor, given: tuple[Tensor, ...], expected: list[tuple[int, ...]]) -> None:
    """Check that states have the expected shapes, and the dtype and device of the inputs."""
    for name, part, shape in zip(layer.states, given, expected, strict=True):
        if part.shape != shape:
            raise RuntimeError(f"the state {name} should be of size {list(shape)}, got {list(part.shape)}")
        # Under autocast a state has the precision that the last step ended with.
        autocast = torch.is_autocast_enabled(sequence.device.type)
        for what in ("device",) if autocast else ("dtype", "device"):
            if getattr(part, what) != getattr(sequence, what):
                raise RuntimeError(
                    f"the state {name} should have the input's {what}, {getattr(sequence, what)}, "
                    f"got {getattr(part, what)}"
                )


def check_eigenvalues(eigenvalues: Sequence[float]) -> tuple[float, float]:
    """The range [0, 1] or [-1, 1] of the eigenvalues of a transition, as a tuple.

    Raises:
        ValueError: it is another one.
    """
    if not isinstance(eigenvalues, Sequence) or list(eigenvalues) not in ([0, 1], [-1, 1]):
        shown = list(eigenvalues) if isinstance(eigenvalues, tuple) else eigenvalues
        raise ValueError(f"eigenvalues should be [0, 1] or [-1, 1], got {shown!r}")
    return eigenvalues[0], eigenvalues[1]


def check_makes_layers(layer: Any) -> None:
    """Check that a layer is made by calling `layer` with `input_size=`, as by a class or a partial of one.

    Raises:
        TypeError: it is a layer already, or accepts no `input_size`.
    """
    if isinstance(layer, torch.nn.Module) or not callable(layer):
        raise TypeError(f"layer should be a class or a partial of one, got an instance of {type(layer).__name__}")
    made = getattr(layer, "func", layer)
    parameters = inspect.signature(made).parameters.values()
    if not any(parameter.name == "input_size" or parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        name = getattr(made, "__name__", made)
        raise TypeError(f"layer should accept input_size=, as torch.nn.RNN does, which {name} does not")
