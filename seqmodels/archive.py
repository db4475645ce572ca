"""Checkpoint files: whole or absent, and checked before they are opened."""

import io
from pathlib import Path
from typing import Any

import torch

from seqmodels.files import sealed, write_whole
from seqmodels.untrusted.archive import read_checkpoint

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(checkpoint: dict[str, Any], file: Path) -> None:
    """Write a checkpoint as a sealed archive, which either is there whole or not at all."""
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    file.parent.mkdir(exist_ok=True)
    write_whole(file, sealed(buffer.getvalue()))
