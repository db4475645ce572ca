"""The table of finished runs that `seqmodels results` shows."""

from pathlib import Path

import pandas as pd

from seqmodels.experiments.comparisons.folders import finished_of, named_runs
from seqmodels.experiments.comparisons.names import short_names, short_value
from seqmodels.experiments.comparisons.results import read_runs, setting_columns
from seqmodels.report.tables import significant
from seqmodels.untrusted.reading import RunFolderError, printable

FEW = 5
"""If more settings than this differ, they share a column."""


def collect(folder: Path) -> tuple[pd.DataFrame, list[RunFolderError]]:
    """The runs of a sweep, or all below a folder, as a table, and an error for each that was left out.

    The rows are sorted by task and from the best to the worst score on validation. The test plays no part in it. The
    columns `unseen` (the mean over test lengths that training did not have) and `diverged at` (a step) exist if any run
    has one. Settings have columns if two runs of the same model on the same task differ in them.

    Raises:
        UserError: no run has finished.
    """
    named, damaged = named_runs(folder)
    runs, errors = read_runs(finished_of(named, folder, damaged))
    errors += [] if damaged is None else [damaged]
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


def differing(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Columns for the settings in which runs of the same model on the same task differ, by short names.

    Where there are more than a few, one column, `settings`, names those that differ for each pair of model and task.
    """
    settings = runs[
        [name for name in setting_columns(runs) if name != "trainer.max_steps"]
    ]  # the column steps shows it
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


def shortened(folder: Path, root: Path) -> str:
    """The path of a folder relative to another one, if that contains it."""
    return str(folder.relative_to(root)) if folder.is_relative_to(root) else str(folder)


def text_of(table: pd.DataFrame) -> list[list[str]]:
    """The cells as strings: four significant digits of measurements, whole steps per second, printable text."""
    text = table.astype(object)
    for name in {"validation", "test", "unseen", "chance"} & set(table):
        text[name] = ["" if value is None else significant(value) for value in table[name]]
    text["steps/s"] = [f"{value:.0f}" for value in table["steps/s"]]
    text["solved"] = ["yes" if solved else "no" for solved in table["solved"]]
    if "diverged at" in table:
        text["diverged at"] = ["" if value is None else value for value in table["diverged at"]]
    return [[printable(cell) for cell in row] for row in text.to_numpy()]
