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

FREE = "end that process, or choose another folder=..."
"""What to do about a lock."""

CAUSES = {
    **dict.fromkeys(("not a database", "malformed", "no such"), "it is damaged, or of another program"),
    "unable to open": "it is a folder, or you may not open it",
}
"""Words in errors of SQLite, and their causes."""


def open_storage(root: Path) -> optuna.storages.BaseStorage:
    """The database in a folder, which is created if there is none.

    Raises:
        UserError: it is damaged, was written by another version of Optuna, is locked, or is empty although there are
            trials in the folder.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    with database_errors(root), alone_in(root):
        file = (root / "study.db").resolve()
        if file.is_file() and not file.stat().st_size and has_trials(root):
            raise UserError(
                f"{root / 'study.db'} is empty, but {root} contains trials: choose another folder=..., or remove {root}"
            )
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
            raise UserError(f"{file} has been locked by another process for {PATIENCE} seconds; {FREE}") from error
        causes = [cause for words, cause in CAUSES.items() if words in problem]
        hint = f"; {causes[0]}: choose another folder=..., or remove it" if causes else ""
        raise UserError(f"{file} cannot be used: {printable(problem)}{hint}") from error
    except RuntimeError as error:
        if "optuna" not in str(error).lower():
            raise
        raise UserError(f"{file} cannot be used: {' '.join(str(error).split())}") from error


def has_trials(root: Path) -> bool:
    """Whether a folder contains the files of trials: their table, or folders."""
    return (root / "trials.csv").exists() or any(root.glob("*/"))


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
                    raise UserError(f"another process has locked {root} for {PATIENCE} seconds; {FREE}") from error
                time.sleep(0.02)
        yield
