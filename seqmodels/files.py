"""Files that are either whole or absent: written beside the old file, and renamed when they are on the disk.

A checkpoint is a ZIP archive. Its SHA-256 digest stands in the archive's comment, so that damage is noticed, and the
file still opens with `torch.load`.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seqmodels.checks import UserError

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are noticed only once the first has written its config
    fcntl = None  # type: ignore[assignment]

COMMENT = b"sha256:"


def write_whole(file: Path, content: bytes) -> None:
    """Write a file such that a crash at any moment leaves either the old content or the new one."""
    part = part_of(file)
    try:
        with errors_that_name(file):
            write(part, "wb", content)
            os.replace(part, file)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def append(file: Path, content: bytes) -> None:
    """Append to a file; a crash may leave a part of the content."""
    with errors_that_name(file):
        write(file, "ab", content)


def write(file: Path, mode: str, content: bytes) -> None:
    """Write to a file, and wait until the content is on the disk."""
    with file.open(mode) as output:
        output.write(content)
        output.flush()
        os.fsync(output.fileno())


@contextmanager
def errors_that_name(file: Path) -> Iterator[None]:
    """Add the file to the errors of the operating system, which do not name it when a disk is full."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(file)) from error


def part_of(file: Path) -> Path:
    """Where a file is written before it is renamed."""
    return file.with_name(f".{file.name}.part")


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes. The lock ends with the process, however that ends.

    Raises:
        UserError: another process holds the lock.
    """
    lock = folder / ".lock"
    with lock.open("a") as file:
        try:
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unlike flock, not inherited by data workers
            if os.fstat(file.fileno()).st_nlink == 0:  # it was removed since it was opened
                raise BlockingIOError
        except (BlockingIOError, PermissionError) as error:
            raise UserError(f"another run is writing into {folder}: wait for it, or choose another folder") from error
        try:
            yield
        finally:
            with suppress(OSError):  # the folder may have been removed, or have become read-only
                lock.unlink()


def digest_of(content: bytes) -> str:
    """The SHA-256 digest, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sealed(archive: bytes) -> bytes:
    """A ZIP archive with its digest in its comment; the archive must not have one yet.

    The last two bytes of an archive without a comment are the length of the comment, zero.
    """
    if archive[-22:-18] != b"PK\x05\x06" or archive[-2:] != b"\0\0":
        raise ValueError("expected a ZIP archive without a comment")
    comment = COMMENT + digest_of(archive[:-2]).encode()
    return archive[:-2] + len(comment).to_bytes(2, "little") + comment


def is_sealed(archive: bytes) -> bool:
    """Whether an archive ends in a comment that holds its digest and, if it does, nothing else has changed.

    Raises:
        ValueError: it has such a comment, and another digest.
    """
    length = len(COMMENT) + 64
    content, comment = archive[: -length - 2], archive[-length:]
    if not comment.startswith(COMMENT):
        return False
    if comment != COMMENT + digest_of(content).encode():
        raise ValueError("its content does not match the digest stored with it")
    return True
