"""A table of finished runs. Their folders may come from anyone: a file that is not as a run writes it is left out."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from seqmodels.config.identity import without_effect
from seqmodels.report.tables import significant
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

LATER = ("validation", "unseen", "solved_at", "diverged_at", "finished", "git")
"""Values that results of earlier versions do not have."""

OWN_COLUMNS = ("model_name", "task_name", "seed")
"""Settings that are columns under other names."""

FEW = 5
"""If more settings than this differ, they share a column."""


def collect(folder: Path) -> tuple[pd.DataFrame, list[RunFolderError]]:
    """The runs below a folder as a table to be shown, and an error for each that was left out.

    The rows are sorted by task and from the best to the worst score on validation. The test plays no part in it. The
    columns `unseen` (the mean over test lengths that training did not have) and `diverged at` (a step) exist if any run
    has one. Settings have columns if two runs of the same model on the same task differ in them.

    Raises:
        FileNotFoundError: there is no `result.json`.
    """
    files = sorted(folder.rglob("result.json"))
    if not files:
        raise FileNotFoundError(f"expected run folders with a result.json below {folder}, found none")
    runs, errors = read_runs([file.parent for file in files], folder)
    order = [
        -score if score is not None and metric == "accuracy" else score
        for score, metric in zip(runs["validation"], runs["metric"], strict=True)
    ]
    runs = runs.assign(order=pd.array(order, dtype="Float64").to_numpy(float, na_value=float("nan")))
    runs = runs.sort_values(["task", "order", "model", "seed"], kind="stable").drop(columns="order")
    facts = ["task", "model", "seed", "metric", "validation", "test", "unseen", "chance", "solved", "diverged_at",
             "steps", "steps_per_second", "parameters"]  # fmt: skip
    shown = runs[facts].rename(columns={"steps_per_second": "steps/s", "diverged_at": "diverged at"})
    shown["date"] = [finished[:16].replace("T", " ") for finished in runs["finished"]]
    shown["folder"] = [shortened(Path(run), folder) for run in runs["folder"]]
    for name in ("unseen", "diverged at"):
        if all(value is None for value in shown[name]):
            shown = shown.drop(columns=name)
    for name, values in reversed(differing(runs).items()):
        shown.insert(3, name, values)
    return shown, errors


def read_runs(folders: Iterable[Path], root: Path | None = None) -> tuple[pd.DataFrame, list[RunFolderError]]:
    """One row for each run folder, and an error for each that was left out.

    The columns are the values of result.json named in `TYPES`, `layer`, `best_step`, `lengths` (a list with a dict for
    each tested length), `versions` (a dict), `folder`, and the settings of config.yaml by their dotted names, such as
    optimizer.lr, as strings; a setting that a run does not have is missing there. `finished` is the time at which
    result.json was written where an earlier version did not store it.

    Args:
        root: a folder that no file may lead out of by a link; by default the folder of each run.
    """
    rows, errors = [], []
    for folder in folders:
        file = folder / "result.json"
        try:
            result = checked_result(file, root or folder)
            settings = settings_of(folder / "config.yaml", digests_in(result).get("config.yaml"))
            facts = {name: result[name] for name in TYPES}
            facts |= {"best_step": result.get("best_step"), "lengths": lengths_of(result)}
            facts |= {"versions": versions_of(result), "folder": str(folder)}
            facts["finished"] = finished_at(result, file)
        except RunFolderError as error:
            errors.append(error)
        else:
            rows.append(settings | facts)
    names = list(
        dict.fromkeys([*TYPES, "best_step", "lengths", "versions", "folder", *(key for row in rows for key in row)])
    )
    return pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}), errors


def settings_in(runs: pd.DataFrame) -> list[str]:
    """The columns of a table of runs that are settings."""
    return [str(name) for name in runs if name not in {*TYPES, "best_step", "lengths", "versions", "folder"}]


def differing(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Columns for the settings in which runs of the same model on the same task differ, by short names.

    Where there are more than a few, one column, `settings`, names those that differ for each pair of model and task.
    """
    settings = runs[[name for name in settings_in(runs) if name != "trainer.max_steps"]]  # the column steps shows it
    groups = [rows for _, rows in settings.groupby([runs["task"], runs["model"]], sort=False)]
    apart = [[str(name) for name in rows if rows[name].nunique(dropna=False) > 1] for rows in groups]
    names = [str(name) for name in settings if any(name in part for part in apart)]
    short = short_names(names)
    if len(names) <= FEW:
        return {
            short[name]: ["" if value is None else short_value(value) for value in settings[name]] for name in names
        }
    text = dict.fromkeys(runs.index, "")
    for rows, part in zip(groups, apart, strict=True):
        for name in part:
            for row, value in rows[name].items():
                text[row] += "" if value is None else f" {short[name]}={short_value(value)}"
    return {"settings": [words.strip() for words in text.values()]}


def short_names(names: list[str]) -> dict[str, str]:
    """The last parts of dotted names, such as lr, where these are unambiguous; a class has the name of its node.

    >>> list(short_names(["optimizer.lr", "optimizer._target_", "model.length", "task.length"]).values())
    ['lr', 'optimizer', 'model.length', 'task.length']
    """
    taken = {*TYPES, "date", "folder", "settings", "steps/s", "diverged at"}
    last = {name: name.removesuffix("._target_").rpartition(".")[2] for name in names}
    counts = pd.Series(list(last.values())).value_counts()
    return {name: name if counts[short] > 1 or short in taken else short for name, short in last.items()}


def short_value(value: str) -> str:
    """A setting's value; of a long dotted name, such as that of a class, the last part."""
    last = value.rpartition(".")[2]
    return last if last.isidentifier() and len(value) > 20 else value


def shortened(folder: Path, root: Path) -> str:
    """The path of a folder relative to another one, if that contains it."""
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)


def checked_result(file: Path, root: Path) -> dict[str, Any]:
    """The content of a result.json below `root`, with values of the types that a run writes.

    Raises:
        RunFolderError: it is not the result of a run; or it, or the config beside it, is a link that leads elsewhere.
    """
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
    return result


def lengths_of(result: dict[str, Any]) -> list[dict[str, Any]]:
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


def versions_of(result: dict[str, Any]) -> dict[str, str]:
    """The versions that a result names."""
    versions = result.get("versions")
    return {str(name): str(value) for name, value in versions.items()} if isinstance(versions, dict) else {}


def finished_at(result: dict[str, Any], file: Path) -> str:
    """When a run finished, in UTC as ISO 8601; if the result does not say, when the file was written."""
    with run_folder_errors(file):
        stored = result["finished"]
        when = datetime.fromisoformat(stored) if stored else datetime.fromtimestamp(file.stat().st_mtime, UTC)
        return when.astimezone(UTC).isoformat(timespec="seconds")


def settings_of(file: Path, digest: str | None = None) -> dict[str, str]:
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


def cells_of(table: pd.DataFrame) -> list[list[str]]:
    """The cells as strings: four significant digits of measurements, whole steps per second, printable text."""
    text = table.astype(object)
    for name in {"validation", "test", "unseen", "chance"} & set(table):
        text[name] = ["" if value is None else significant(value) for value in table[name]]
    text["steps/s"] = [f"{value:.0f}" for value in table["steps/s"]]
    text["solved"] = ["yes" if solved else "no" for solved in table["solved"]]
    if "diverged at" in table:
        text["diverged at"] = ["" if value is None else value for value in table["diverged at"]]
    return [[printable(cell) for cell in row] for row in text.to_numpy()]
