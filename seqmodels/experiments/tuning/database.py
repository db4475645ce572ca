"""The database of a search, which several processes may use at the same time: opened, locked, its errors explained."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError

from seqmodels.checks import UserError
from seqmodels.files import FolderInUseError, only_writer
from seqmodels.untrusted.reading import printable

DATABASE_ERRORS = (StorageInternalError, sqlalchemy.exc.SQLAlchemyError)

PATIENCE = 60
"""Seconds to wait for another process that uses the database."""


def open_storage(root: Path) -> optuna.storages.BaseStorage:
    """The database in a folder, which is created if there is none.

    Raises:
        UserError: it is damaged, was written by another version of Optuna, or is locked.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with database_errors(root), alone_in(root):
        file = (root / "study.db").resolve()
        url = sqlalchemy.URL.create("sqlite", database=str(file)).render_as_string()
        return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": PATIENCE}})


@contextmanager
def database_errors(root: Path) -> Iterator[None]:
    """Turn errors of the database into a `UserError` that names its file."""
    file = root / "study.db"
    try:
        yield
    except DATABASE_ERRORS as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        problem = str(getattr(cause, "orig", cause))
        if "locked" in problem:
            raise UserError(f"{file} has been locked by another process for {PATIENCE} seconds") from error
        damaged = any(words in problem for words in ("not a database", "malformed", "no such"))
        hint = "; it is damaged, or of another program: choose another folder=..., or remove it" if damaged else ""
        raise UserError(f"{file} cannot be used: {printable(problem)}{hint}") from error
    except RuntimeError as error:
        if "optuna" not in str(error).lower():
            raise
        raise UserError(f"{file} cannot be used: {' '.join(str(error).split())}") from error


@contextmanager
def alone_in(root: Path) -> Iterator[None]:
    """Lock a folder against other processes that do the same, after waiting for them for at most a minute.

    The lock is meant to be held for a fraction of a second.

    Raises:
        UserError: another process keeps the lock.
    """
    last = time.monotonic() + PATIENCE
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(only_writer(root))
                break
            except FolderInUseError as error:
                if time.monotonic() > last:
                    raise UserError(f"another process has locked {root} for {PATIENCE} seconds") from error
                time.sleep(0.02)
        yield
