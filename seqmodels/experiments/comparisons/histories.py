"""Scores of runs during training, and at each tested length, as tables for pictures."""

from pathlib import Path

import pandas as pd

from seqmodels.experiments.comparisons.scores import records
from seqmodels.runs.history import read_history
from seqmodels.untrusted.reading import RunFolderError


def curves_of(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The validation metric of each run over the steps, and the folders of runs without a readable metrics.csv."""
    parts, missing = [], []
    for run in records(runs):
        try:
            steps = validations(Path(run["folder"]) / "metrics.csv", run["metric"])
        except RunFolderError:
            missing.append(run["folder"])
        else:
            parts.append(steps.assign(label=run["label"], task=run["task"], metric=run["metric"], seed=run["seed"]))
    names = ["label", "task", "metric", "seed", "step", "value"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names), missing


def validations(file: Path, metric: str) -> pd.DataFrame:
    """The numbers of completed steps, and the values of the metric on validation, of a metrics.csv.

    Raises:
        RunFolderError: the file is not a metrics.csv with this metric.
    """
    history = read_history(file, metric)
    if f"val_{metric}" not in history:
        raise RunFolderError(f"{file} should have a column named val_{metric}")
    known = history.dropna(subset=f"val_{metric}")
    # The logger counts steps from 0; checkpoints count completed steps.
    return pd.DataFrame({"step": known["step"] + 1, "value": known[f"val_{metric}"]})


def lengths_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The test scores of each run at each length, for tasks that are tested at several lengths."""
    rows = [
        {name: run[name] for name in ("label", "task", "metric", "seed", "solved_at")}
        | {"length": row["length"], "value": row["test"], "chance": row["chance"], "unseen": row["unseen"]}
        for run in records(runs)
        if len(run["lengths"]) > 1
        for row in run["lengths"]
    ]
    names = ["label", "task", "metric", "seed", "length", "value", "chance", "unseen", "solved_at"]
    return pd.DataFrame(rows, columns=names)
