"""Reading a checkpoint file, which may be damaged."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from seqmodels.checks import UserError
from seqmodels.files import is_sealed, sealed, write_whole


def write_checkpoint(checkpoint: dict[str, Any], file: Path) -> None:
    """Write a checkpoint as a sealed archive, which either is there whole or not at all."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    file.parent.mkdir(exist_ok=True)
    write_whole(file, sealed(buffer.getvalue()))


def read_checkpoint(file: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        UserError: it cannot be read, or has changed since it was written.
    """
    try:
        content = file.read_bytes()
        is_sealed(content)
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
