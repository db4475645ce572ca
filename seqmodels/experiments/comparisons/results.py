"""The results of runs, read from their folders, which may come from anyone.

A folder is left out if a file in it is not as a run writes it.
"""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from seqmodels.config.identity import without_effect
from seqmodels.untrusted.reading import (
    RunFolderError,
    digests_in,
    printable,
    read_config,
    read_result,
    run_folder_errors,
)

TYPES: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "model": (str,),
    "seed": (int,),
    "metric": (str,),
    "validation": (int, float, type(None)),
    "test": (int, float, type(None)),
    "unseen": (int, float, type(None)),
    "chance": (int, float),
    "solved": (bool,),
    "solved_at": (int, float, type(None)),
    "diverged_at": (int, type(None)),
    "steps": (int,),
    "steps_per_second": (int, float),
    "seconds": (int, float),
    "parameters": (int,),
    "finished": (str, type(None)),
    "git": (str, type(None)),
}
"""The types of a result's values. The scores are null where training diverged before its first validation."""

NEVER_NEGATIVE = ("seed", "steps", "steps_per_second", "seconds", "parameters")

LATER = ("validation", "unseen", "solved_at", "diverged_at", "finished", "git")
"""Values that results of earlier versions do not have."""

OWN_COLUMNS = ("model_name", "task_name", "seed")
"""Settings that are columns under other names."""


def read_runs(folders: Iterable[Path]) -> tuple[pd.DataFrame, list[RunFolderError]]:
    """One row for each run folder, and an error for each that was left out.

    The columns are the values of result.json named in `TYPES`, `best_step`, `lengths` (a list with a dict for
    each tested length), `versions` (a dict), `folder`, and the settings of config.yaml by their dotted names, such as
    optimizer.lr, as strings; a setting that a run does not have is missing there. `finished` is the time at which
    result.json was written where an earlier version did not store it.
    """
    rows, errors = [], []
    for folder in folders:
        file = folder / "result.json"
        try:
            result = checked_result(file)
            settings = read_settings(folder / "config.yaml", digests_in(result).get("config.yaml"))
            facts = {name: result[name] for name in TYPES}
            facts |= {"best_step": result.get("best_step"), "lengths": lengths_in(result)}
            facts |= {"versions": result.get("versions", {}), "folder": str(folder)}
            facts["finished"] = finished_at(result, file)
        except RunFolderError as error:
            errors.append(error)
        else:
            rows.append({name: encodable(value) for name, value in (settings | facts).items()})
    names = list(
        dict.fromkeys([*TYPES, "best_step", "lengths", "versions", "folder", *(key for row in rows for key in row)])
    )
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}), errors


def encodable(value: Any) -> Any:
    """The same, with halves of surrogate pairs as escapes, because pandas cannot hold them where it uses pyarrow."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def setting_columns(runs: pd.DataFrame) -> list[str]:
    """The columns of a table of runs that are settings."""
    return [str(name) for name in runs if name not in {*TYPES, "best_step", "lengths", "versions", "folder"}]


def checked_result(file: Path) -> dict[str, Any]:
    """The content of a result.json, with values of the types that a run writes.

    Raises:
        RunFolderError: it is not the result of a run; or it, or the config beside it, is a link that leads elsewhere.
    """
    root = file.parent
    for part in (file, file.with_name("config.yaml")):
        with run_folder_errors(part):
            if not part.resolve().is_relative_to(root.resolve()):
                raise RunFolderError(f"{printable(part)} is a link that leads out of {printable(root)}")
    result = dict.fromkeys(LATER) | read_result(file)
    for name, types in TYPES.items():
        value = result.get(name)
        if name not in result or not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            got = repr(value) if name in result else "nothing"
            raise RunFolderError(f"{printable(file)}: {name} is not as a run writes it, got {printable(got, 100)}")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise RunFolderError(f"{printable(file)}: {name} is too large a number")
        if name in NEVER_NEGATIVE and isinstance(value, int | float) and not 0 <= value < math.inf:
            raise RunFolderError(f"{printable(file)}: {name} is not as a run writes it, got {value}")
    if not isinstance(versions := result.get("versions", {}), dict) or not all(
        isinstance(version, str) for version in versions.values()
    ):
        raise RunFolderError(f"{printable(file)}: versions is not as a run writes it, got {printable(versions, 100)}")
    return result


def lengths_in(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The scores by length of a result, without those that are not as a run writes them."""
    rows = result.get("lengths")
    numbers = ("length", "test", "chance")
    return [
        {name: float(row[name]) for name in numbers} | {"unseen": row.get("unseen") is True}
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
        and all(type(row.get(name)) in (int, float) and abs(row[name]) < 2**63 for name in numbers)
        and row["length"] > 0
    ]


def finished_at(result: dict[str, Any], file: Path) -> str:
    """When a run finished, in UTC as ISO 8601; if the result does not say, when the file was written."""
    with run_folder_errors(file):
        stored = result["finished"]
        when = datetime.fromisoformat(stored) if stored else datetime.fromtimestamp(file.stat().st_mtime, UTC)
        return when.astimezone(UTC).isoformat(timespec="seconds")


def read_settings(file: Path, digest: str | None = None) -> dict[str, str]:
    """The settings of a run by their dotted names, such as optimizer.lr, as strings; empty without a config.

    Raises:
        RunFolderError: the config is not one that a run writes, or not the one with this digest.
    """
    if not file.exists():
        return {}
    config = read_config(file, digest)
    with run_folder_errors(file):
        (settings,) = pd.json_normalize(config).to_dict("records")
    return {
        printable(name, 100): "null" if value is None else str(value)
        for name, value in settings.items()
        if name not in OWN_COLUMNS and not without_effect(str(name))
    }
