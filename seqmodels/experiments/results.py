"""A table of finished runs. Their folders may come from anyone: a file that is not as a run writes it is left out."""

from pathlib import Path
from typing import Any

import pandas as pd

from seqmodels.report.tables import significant
from seqmodels.untrusted.reading import (
    RunFolderError,
    digests_in,
    printable,
    read_config,
    read_result,
    run_folder_errors,
)

NOT_LISTED = {"seed", "trainer.max_steps", "claim", "model_name", "task_name"}
"""Settings that have a column of their own, or that change no number."""

COLUMNS = {
    "task": "task",
    "model": "model",
    "seed": "seed",
    "metric": "metric",
    "test": "test",
    "unseen": "unseen",
    "chance": "chance",
    "solved": "solved",
    "diverged_at": "diverged at",
    "steps": "steps",
    "steps_per_second": "steps/s",
    "parameters": "parameters",
}

TYPES: dict[str, tuple[type, ...]] = {
    "task": (str,),
    "model": (str,),
    "seed": (int,),
    "metric": (str,),
    "test": (int, float, type(None)),
    "unseen": (int, float, type(None)),
    "chance": (int, float),
    "solved": (bool,),
    "diverged_at": (int, type(None)),
    "steps": (int,),
    "steps_per_second": (int, float),
    "parameters": (int,),
    "seconds": (int, float),
}
"""The types of a result's values. `test` is null where training diverged before its first validation."""


def collect(folder: Path) -> tuple[pd.DataFrame, list[RunFolderError]]:
    """One row for each `result.json` below a folder, and an error for each that was left out.

    The rows are sorted by task and from the best to the worst test metric, runs without one last. The column `unseen`,
    the mean over test lengths that training did not have, exists if any run has one; `diverged at`, a step, if any run
    diverged; `settings` if two runs of the same model on the same task differ in more than their seed.

    Raises:
        FileNotFoundError: there is no `result.json`.
    """
    results, configs, errors = [], [], []
    for file in sorted(folder.rglob("result.json")):
        try:
            result = checked_result(file, folder)
            configs.append(settings_of(file.with_name("config.yaml"), digests_in(result).get("config.yaml")))
            results.append({name: result[name] for name in COLUMNS})
        except RunFolderError as error:
            errors.append(error)
    if not results and not errors:
        raise FileNotFoundError(f"expected run folders with a result.json below {folder}, found none")
    table = pd.DataFrame(results, columns=list(COLUMNS), dtype=object).rename(columns=COLUMNS)
    settings = pd.DataFrame(configs)
    for _, rows in settings.groupby([table["task"], table["model"]]):
        differing = rows.loc[:, rows.nunique(dropna=False) > 1]
        for row, values in differing.iterrows():
            table.loc[row, "settings"] = " ".join(f"{name}={value}" for name, value in values.dropna().items())
    for name in ("unseen", "diverged at"):
        if table[name].isna().all():
            table = table.drop(columns=name)
    if "settings" in table and not table["settings"].any():
        table = table.drop(columns="settings")
    table["order"] = [
        score if score is None or metric != "accuracy" else -score
        for score, metric in zip(table["test"], table["metric"], strict=True)
    ]
    table["order"] = table["order"].astype(float)
    return table.sort_values(["task", "order", "model", "seed"]).drop(columns="order"), errors


def checked_result(file: Path, root: Path) -> dict[str, Any]:
    """The content of a result.json below `root`, with values of the types that a run writes.

    Raises:
        RunFolderError: it is not the result of a run; or it, or the config beside it, is a link that leads elsewhere.
    """
    for part in (file, file.with_name("config.yaml")):
        with run_folder_errors(part):
            if not part.resolve().is_relative_to(root.resolve()):
                raise RunFolderError(f"{printable(part)} is a link that leads out of {printable(root)}")
    result = {"unseen": None, "diverged_at": None} | read_result(file)  # runs of earlier versions do not have these
    for name, types in TYPES.items():
        value = result.get(name)
        if name not in result or not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            got = repr(value) if name in result else "nothing"
            raise RunFolderError(f"{printable(file)}: {name} is not as a run writes it, got {printable(got, 100)}")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise RunFolderError(f"{printable(file)}: {name} is too large a number")
    return result


def settings_of(file: Path, digest: str | None = None) -> dict[str, str]:
    """The settings of a run by their dotted names, such as optimizer.lr, as strings; empty where its config is gone.

    Raises:
        RunFolderError: the config is not one that a run writes, or not the one with this digest.
    """
    if not file.exists():
        return {}
    config = read_config(file, digest)
    with run_folder_errors(file):
        (settings,) = pd.json_normalize(config).to_dict("records")
    return {
        str(name): "null" if value is None else str(value)
        for name, value in settings.items()
        if name not in NOT_LISTED and not str(name).startswith("published.")
    }


def cells_of(table: pd.DataFrame) -> list[list[str]]:
    """The cells as strings: four significant digits of measurements, whole steps per second, printable text."""
    text = table.astype(object)
    for name in {"test", "unseen", "chance"} & set(table):
        text[name] = ["" if pd.isna(value) else significant(value) for value in table[name]]
    text["steps/s"] = [f"{value:.0f}" for value in table["steps/s"]]
    text["solved"] = ["yes" if solved else "no" for solved in table["solved"]]
    for name in {"diverged at", "settings"} & set(table):
        text[name] = ["" if pd.isna(value) else value for value in table[name]]
    return [[printable(cell) for cell in row] for row in text.to_numpy()]
