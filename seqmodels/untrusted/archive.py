"""Checkpoints as `torch.save` writes them, checked before torch opens them.

Such a file is a ZIP archive with a pickle, data.pkl, and one entry for the numbers of each tensor. `torch.load` with
`weights_only=True` runs no code of the pickle's, but trusts it in other ways: it unpacks what is compressed, makes
objects of any size, believes the sizes of tensors, and does not notice a flipped bit. So the archive is first read by
Python's zipfile and pickle modules, which make nothing but outlines.
"""

import io
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seqmodels.files import is_sealed
from seqmodels.untrusted.reading import RunFolderError, printable, read_file, run_folder_errors, size_of

PICKLE_LIMIT = 2**22
DIRECTORY_LIMIT = 2**23
OPCODE_LIMIT = 10**6
"""Bytes, bytes, and instructions. A checkpoint of a thousand tensors has 0.2 MB, 0.1 MB and 50,000."""

OPCODES = (
    "PROTO STOP GLOBAL REDUCE BUILD MARK TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE EMPTY_LIST EMPTY_DICT APPEND APPENDS "
    "SETITEM SETITEMS NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE BINPERSID BINGET "
    "LONG_BINGET BINPUT LONG_BINPUT"
)
"""The instructions of a pickle that torch.save writes."""

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class Outline(NamedTuple):
    """A tensor without its numbers."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_checkpoint(file: Path, limit: int | None = None, digest: str | None = None) -> dict[str, Any]:
    """The content of a checkpoint: plain containers and tensors on the CPU.

    The digest that is stored with a checkpoint is verified. Checkpoints of earlier versions have no digest. The
    checksum of each tensor is verified in all.

    Args:
        limit: the most bytes that the file may have. It holds nothing compressed, so this is also the most that it is
            unpacked to.
        digest: the SHA-256 digest that the file should have, if it is known.

    Raises:
        RunFolderError: the file is missing, damaged, too large, or holds something other than a checkpoint does.
    """
    content = read_file(file, limit, digest)
    with run_folder_errors(file):
        try:
            is_sealed(content)
        except ValueError as error:
            raise RunFolderError(f"{printable(file)} is damaged: {error}") from error
        clean = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            outline_in(archive, len(content))
            # torch reads archives with a parser of its own, which might see other entries in one made to deceive.
            with zipfile.ZipFile(clean, "w") as copy:
                for entry in archive.infolist():
                    copy.writestr(zipfile.ZipInfo(entry.filename), archive.read(entry))  # compares its checksum
        del content
        clean.seek(0)
        return torch.load(clean, weights_only=True, map_location="cpu")


def outline_of(file: Path) -> dict[str, Any]:
    """The content of a checkpoint with an `Outline` for each tensor; little of the file is read.

    Raises:
        RunFolderError: see `read_checkpoint`. The digest is not verified.
    """
    size = size_of(file)
    with run_folder_errors(file), Bounded(file) as stream, zipfile.ZipFile(stream) as archive:
        return outline_in(archive, size)


class Bounded(io.FileIO):
    """A file of which nothing large is read at once, whatever sizes are written in it."""

    def read(self, size: int | None = -1, /) -> bytes:
        large = size is None or not 0 <= size <= DIRECTORY_LIMIT
        content = super().read(DIRECTORY_LIMIT + 1 if large else size) or b""
        if len(content) > DIRECTORY_LIMIT:
            raise ValueError(f"its list of entries should have at most {DIRECTORY_LIMIT} bytes")
        return content


def outline_in(archive: zipfile.ZipFile, size: int) -> dict[str, Any]:
    """The content of an archive of `size` bytes with an `Outline` for each tensor.

    Raises:
        ValueError: an entry is compressed, or entries overlap; or the pickle makes anything but plain containers and
            tensors, or tensors larger than their stored data.
    """
    entries = {entry.filename: entry.file_size for entry in archive.infolist()}
    if len(entries) < len(archive.infolist()):
        raise ValueError("it has two entries of the same name")
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise ValueError(f"its entry {printable(entry.filename)} is compressed; torch.save stores them as they are")
    if sum(entries.values()) > size:
        raise ValueError(f"its {size} bytes unpack to {sum(entries.values())}")
    (name, *others) = [name for name in entries if re.fullmatch(r"[^/]*/data\.pkl", name)] or [""]
    if not name or others:
        raise ValueError("it should have one entry data.pkl, as torch.save writes it")
    if entries[name] > PICKLE_LIMIT:
        raise ValueError(f"its data.pkl has {entries[name]} bytes, expected at most {PICKLE_LIMIT}")
    content = archive.read(name)
    check_opcodes(content)
    checkpoint = Outliner(content, name.removesuffix("data.pkl"), entries).load()
    if not isinstance(checkpoint, dict):
        raise ValueError(f"it should hold a dict, got {printable(type(checkpoint).__name__)}")
    return checkpoint


def check_opcodes(content: bytes) -> None:
    """Refuse a pickle with other instructions than torch.save writes, or so many that it would take long to follow."""
    known = set(OPCODES.split())
    argument: Any
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if opcode.name not in known:
            raise ValueError(f"its data.pkl has the instruction {opcode.name}, which torch.save does not write")
        if number == OPCODE_LIMIT:
            raise ValueError(f"its data.pkl should have at most {OPCODE_LIMIT} instructions")
        if opcode.name in ("BINPUT", "LONG_BINPUT") and argument > OPCODE_LIMIT:  # it is an index in a growing list
            raise ValueError("its data.pkl numbers its objects beyond their count")


class Storage(NamedTuple):
    dtype: torch.dtype
    length: int


class Made(dict):
    """An OrderedDict or a Counter of the pickle. The attributes that it would be given are left out."""

    def __setstate__(self, attributes: Any) -> None:
        pass


class Named:
    """A name in the pickle: a function of ours is called in its place."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, attributes: Any) -> None:
        raise ValueError("its data.pkl changes an attribute of a function")


class Outliner(pickle.Unpickler):
    """Follows the pickle of a checkpoint whose instructions were checked, and makes outlines of its tensors.

    Each name in it stands for an object of this module that has no way to do harm: a pickle can call what it names, and
    set the attributes of what it made.
    """

    def __init__(self, content: bytes, folder: str, entries: dict[str, int]) -> None:
        super().__init__(io.BytesIO(content))
        self.folder = folder
        self.entries = entries

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return name
        known: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": Made,
            "collections.Counter": Made,
            "torch.Size": tuple,
            "torch._utils._rebuild_tensor_v2": outline_of_tensor,
            "torch._utils._rebuild_parameter": outline_of_parameter,
        }
        if f"{module}.{name}" not in known:
            raise ValueError(f"its data.pkl names {printable(f'{module}.{name}')}, which no checkpoint needs")
        return Named(known[f"{module}.{name}"])

    def persistent_load(self, reference: Any) -> Storage:
        kind, storage, key, _, count = reference
        if kind != "storage" or storage not in DTYPES or not isinstance(key, str) or type(count) is not int:
            raise ValueError("its data.pkl refers to something other than the numbers of a tensor")
        found = self.entries.get(f"{self.folder}data/{key}")
        if found != count * DTYPES[storage].itemsize:
            raise ValueError(f"its data.pkl expects {count} numbers in data/{printable(key, 50)}, where others are")
        return Storage(DTYPES[storage], count)


def outline_of_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, gradient: Any, hooks: Any, metadata: Any = None
) -> Outline:
    """The outline of a tensor that a pickle describes, if its storage has all of its numbers."""
    if type(storage) is not Storage or type(shape) is not tuple or type(strides) is not tuple or hooks or metadata:
        raise ValueError("its data.pkl describes a tensor in a way that no checkpoint needs")
    if len(shape) > 16 or any(
        type(number) is not int or not 0 <= number < 2**63 for number in (offset, *shape, *strides)
    ):
        raise ValueError(f"its data.pkl describes a tensor of shape {printable(shape)}")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.length:
        raise ValueError(f"its data.pkl describes a tensor of shape {printable(shape)} with {storage.length} numbers")
    return Outline(shape, storage.dtype)


def outline_of_parameter(tensor: Any, gradient: Any, hooks: Any) -> Outline:
    if type(tensor) is not Outline or hooks:
        raise ValueError("its data.pkl describes a parameter in a way that no checkpoint needs")
    return tensor
