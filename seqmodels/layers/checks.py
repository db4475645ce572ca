"""What every layer refuses, with the types of errors that `torch.nn.RNN` has for it."""

from typing import Any

import torch
from torch import Tensor


def check_arguments(input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
    for name, size in [("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)]:
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"{name} should be a positive whole number, got {size!r}")
        if size <= 0:
            raise ValueError(f"{name} should be a positive whole number, got {size}")
    if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
        raise ValueError(f"dropout should be a probability between 0 and 1, got {dropout!r}")


def check_dimensions(input: Any) -> None:
    if not isinstance(input, Tensor):
        raise TypeError(f"expected input to be a Tensor or a PackedSequence, got {type(input).__name__}")
    if input.dim() not in (2, 3):
        raise ValueError(f"expected input to be 2D or 3D, got {input.dim()}D")


def check_features(layer: Any, sequence: Tensor, dtype: torch.dtype) -> None:
    """Refuse inputs of another width or dtype than the weights'; `sequence` has features last."""
    if sequence.size(-1) != layer.input_size:
        raise RuntimeError(f"input.size(-1) should be input_size={layer.input_size}, got {sequence.size(-1)}")
    if sequence.dtype != dtype and not torch.is_autocast_enabled(sequence.device.type):
        raise ValueError(f"input dtype {sequence.dtype} does not match weight dtype {dtype}: convert one of them")


def given_states(layer: Any, hx: Any, dimensions: int) -> tuple[Tensor, ...] | None:
    """The initial state as a tuple, once its number of tensors and of their dimensions is right."""
    if hx is None:
        return None
    names = ", ".join(layer.states)
    state = hx if isinstance(hx, tuple | list) else (hx,)
    if len(state) != len(layer.states) or (len(state) > 1) != isinstance(hx, tuple | list):
        expected = f"a tuple ({names})" if len(layer.states) > 1 else f"one tensor {names}"
        found = f"a tuple of {len(state)}" if isinstance(hx, tuple | list) else "one tensor"
        raise RuntimeError(f"expected the state hx to be {expected}, got {found}")
    for name, part in zip(layer.states, state, strict=True):
        if part.dim() != dimensions:
            kind = "a single (2D) sequence" if dimensions == 2 else "a batch of sequences"
            raise RuntimeError(f"expected the state {name} of {kind} to be {dimensions}D, got {part.dim()}D")
    return tuple(state)


def check_states(layer: Any, sequence: Tensor, given: tuple[Tensor, ...], expected: list[tuple[int, ...]]) -> None:
    """Refuse states of other shapes, or of another dtype or device than the inputs."""
    for name, part, shape in zip(layer.states, given, expected, strict=True):
        if part.shape != shape:
            raise RuntimeError(f"expected the state {name} to be of size {list(shape)}, got {list(part.shape)}")
        # Under autocast a state comes in the precision that the last step ended with.
        autocast = torch.is_autocast_enabled(sequence.device.type)
        for what in ("device",) if autocast else ("dtype", "device"):
            if getattr(part, what) != getattr(sequence, what):
                raise RuntimeError(
                    f"expected the state {name} to have the input's {what}, {getattr(sequence, what)}, "
                    f"got {getattr(part, what)}"
                )
