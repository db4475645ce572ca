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


def check_features(layer: Any, sequence: Tensor) -> None:
    """Refuse inputs of another width, dtype or length than the layer can read; `sequence` has features last."""
    if sequence.size(-1) != layer.input_size:
        raise RuntimeError(f"input.size(-1) should be input_size={layer.input_size}, got {sequence.size(-1)}")
    dtype = next(layer.parameters()).dtype
    if sequence.dtype != dtype and not torch.is_autocast_enabled(sequence.device.type):
        raise ValueError(f"input dtype {sequence.dtype} does not match weight dtype {dtype}: convert one of them")
