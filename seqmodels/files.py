"""Atomic writes: a file is written under a temporary name and renamed once it is on disk.

A checkpoint is a ZIP archive. Its SHA-256 digest is stored in the archive's comment, so that damage is detected, and
the file still opens with `torch.load`.
"""

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from seqmodels.checks import UserError

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are detected only once the first has written its config
    fcntl = None  # type: ignore[assignment]

COMMENT = b"sha256:"


def write_whole(file: Path, content: bytes) -> None:
    """Write a file such that a crash at any moment leaves either the old content or the new one."""
    with writing_whole(file) as output:
        output.write(content)


@contextmanager
def writing_whole(file: Path) -> Iterator[IO[bytes]]:
    """A stream whose content replaces that of a file on leaving; after an error, the old content stays."""
    part = part_of(file)
    try:
        with errors_that_name(file):
            with part.open("xb") as output:
                yield output
                output.flush()
                os.fsync(output.fileno())
            os.replace(part, file)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    sync(file.parent)


def append(file: Path, content: bytes) -> None:
    """Append all of the content to a file, or nothing; only a crash may leave a part of it."""
    with errors_that_name(file), file.open("ab", buffering=0) as output:
        size = output.tell()
        try:
            if output.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with suppress(OSError):
                os.truncate(file, size)
            raise


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    if os.name == "nt":  # Windows cannot open a folder, and needs to write to a file for this
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def errors_that_name(file: Path) -> Iterator[None]:
    """Add the file's name to operating-system errors, which lack it when a disk is full."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(file)) from error


def part_of(file: Path) -> Path:
    """Where a file is written before it is renamed: under a name that nobody can have put a link under."""
    return file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")


def remove_parts(folder: Path) -> None:
    """Remove what processes have left that were killed while they wrote into a folder."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


class FolderInUseError(UserError):
    """Another process writes into the folder."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes. The lock ends with the process, however that ends.

    Raises:
        FolderInUseError: another process holds the lock.
        UserError: the lock is a link.
    """
    lock = folder / ".lock"
    if lock.is_symlink():
        raise UserError(f"{lock} is a link, which no run writes")
    with lock.open("a") as file:
        try:
            lock_exclusively(file)
            if os.fstat(file.fileno()).st_nlink == 0:  # it was removed since it was opened
                raise BlockingIOError
        except (BlockingIOError, PermissionError) as error:
            raise FolderInUseError(
                f"another run is writing into {folder}: wait for it, or choose another folder"
            ) from error
        try:
            yield
        finally:
            with suppress(OSError):  # the folder may have been removed, or have become read-only
                lock.unlink()


def lock_exclusively(file: IO[str]) -> None:
    """Lock a file. Unlike with flock, data workers do not inherit the lock. `has_writer` may hold it for a moment.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    for pause in (0.02, 0.05, None) if fcntl else ():
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if pause is None:
                raise
            time.sleep(pause)


def has_writer(folder: Path) -> bool:
    """Whether another process has locked a folder with `only_writer`. This process must not hold the lock itself."""
    try:
        with (folder / ".lock").open("r+") as file:
            if fcntl:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is no lock, or it cannot be opened: the next writer reports that
        return False
    return False


def digest_of(content: bytes) -> str:
    """The SHA-256 digest, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sealed(archive: bytes) -> bytes:
    """Returns the archive with its digest as its comment. It must not have a comment yet.

    The last two bytes of an archive without a comment are the length of the comment, zero.
    """
    if archive[-22:-18] != b"PK\x05\x06" or archive[-2:] != b"\0\0":
        raise ValueError("expected a ZIP archive without a comment")
    comment = COMMENT + digest_of(archive[:-2]).encode()
    return archive[:-2] + len(comment).to_bytes(2, "little") + comment


def is_sealed(archive: bytes) -> bool:
    """Returns whether the archive carries a digest.

    Raises:
        ValueError: the digest does not match.
    """
    length = len(COMMENT) + 64
    content, comment = archive[: -length - 2], archive[-length:]
    if not comment.startswith(COMMENT):
        return False
    if comment != COMMENT + digest_of(content).encode():
        raise ValueError("its content does not match the digest stored with it")
    return True
