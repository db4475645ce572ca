"""Weights to be shared: a safetensors file, whose metadata says what is needed to build the model around them.

The metadata has `model_arguments`, those of `SequenceModel` as JSON, and `digests`, the SHA-256 digests of the
config.yaml beside it and of the tensors' bytes. The file is read into the same form that a checkpoint has.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seqmodels.files import digest_of, write_whole
from seqmodels.untrusted.archive import Outline
from seqmodels.untrusted.reading import RunFolderError, digests_in, printable, read_file, run_folder_errors, size_of

HEADER_LIMIT = 2**22
"""Bytes. The header of a thousand tensors has 0.1 MB."""

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES |= {"C64": torch.complex64, "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}


def write_shared(file: Path, weights: dict[str, Tensor], arguments: dict[str, Any], config: bytes) -> None:
    """Write the weights and the arguments of a model whose config is stored beside the file."""
    from safetensors.torch import save

    tensors = {name: weight.detach().clone(memory_format=torch.contiguous_format) for name, weight in weights.items()}
    digests = {"config.yaml": digest_of(config), "tensors": digest_of(tensors_in(save(tensors)))}
    metadata = {"format": "pt", "model_arguments": json.dumps(arguments), "digests": json.dumps(digests)}
    write_whole(file, save(tensors, metadata))


def outline_of_shared(file: Path) -> dict[str, Any]:
    """What `read_shared` returns, with an `Outline` for each tensor; only the header is read.

    Raises:
        RunFolderError: see `read_shared`.
    """
    from safetensors import safe_open

    size_of(file)
    with run_folder_errors(file):
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
        if length > HEADER_LIMIT:
            raise ValueError(f"its header should have at most {HEADER_LIMIT} bytes, got {length}")
        with safe_open(file, framework="pt") as archive:
            parts = {name: archive.get_slice(name) for name in archive.keys()}  # noqa: SIM118
            metadata = archive.metadata() or {}
        if not {"model_arguments", "digests"} <= set(metadata):
            raise ValueError("its metadata should have model_arguments and digests, as save_weights writes them")
        return {
            "state_dict": {
                f"model.{name}": Outline(tuple(part.get_shape()), DTYPES[part.get_dtype()])
                for name, part in parts.items()
            },
            "model_arguments": json.loads(metadata["model_arguments"]),
            "digests": json.loads(metadata["digests"]),
        }


def read_shared(file: Path, limit: int | None = None, digest: str | None = None) -> dict[str, Any]:
    """The weights and arguments of a shared model: {"state_dict": ..., "model_arguments": ..., "digests": ...}.

    Args:
        limit: the most bytes that the file may have.
        digest: the SHA-256 digest that the file should have, if it is known.

    Raises:
        RunFolderError: the file is missing, damaged, too large, or not one that `save_weights` wrote.
    """
    from safetensors.torch import load

    content = read_file(file, limit, digest)
    outline = outline_of_shared(file)
    with run_folder_errors(file):
        if digests_in(outline).get("tensors") != digest_of(tensors_in(content)):
            raise RunFolderError(f"{printable(file)} is damaged: its tensors do not match the digest stored with them")
        return outline | {"state_dict": {f"model.{name}": tensor for name, tensor in load(content).items()}}


def tensors_in(content: bytes) -> bytes:
    """The bytes of all tensors, which follow the header; its length is the first number in the file."""
    return content[8 + int.from_bytes(content[:8], "little") :]
