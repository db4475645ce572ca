"""The scores of runs that are compared, and the groups that the runs belong to.

Different metrics cannot be averaged. Each score therefore has a **place** between chance (0) and solved (1), on a
linear scale for accuracy and a logarithmic one for errors (`seqmodels.report.place`). It replaces the score where a
group contains several tasks or metrics.

A run that diverged has produced no model that could be used, whatever it scored before. It gets the worst score of all
runs on the same task, or chance if that is worse, and the place 0. It counts as unsolved, and can never make a group
better than another one.
"""

import math
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.experiments.comparisons.names import short_names, short_value
from seqmodels.report.place import LARGEST_SCORE, place_of
from seqmodels.untrusted.reading import printable

FACTS = ("model", "task", "version", "commit")
"""What runs can be grouped by besides their settings."""


def labelled(runs: pd.DataFrame, settings: list[str], by: list[str]) -> pd.DataFrame:
    """The runs with their settings, groups and versions as short text, and with the label of their group.

    Args:
        runs: as `read_runs` returns them.
        settings: the columns that are settings.
        by: the columns that define a group.
    """
    table = runs.copy()
    for name in {"model", "task", "metric", *settings}:
        table[name] = [None if value is None else printable(value, 60) for value in table[name]]
    table["version"] = [printable(versions.get("seqmodels", "unknown"), 50) for versions in table["versions"]]
    table["torch"] = [printable(versions.get("torch", "unknown"), 50) for versions in table["versions"]]
    table["commit"] = ["none" if commit is None else printable(commit, 50) for commit in table["git"]]
    for name in by:
        table[name] = ["none" if value is None else short_value(value) for value in table[name]]
    short = short_names([name for name in by if name not in FACTS])
    parts: Any = [
        table[name] if name == "model" else f"{short.get(name, name)}=" + table[name] for name in by if name != "task"
    ]
    table["label"] = parts[0].str.cat(parts[1:], sep=" ") if parts else "all runs"
    return table


def without_repeats(table: pd.DataFrame, settings: list[str]) -> tuple[pd.DataFrame, int]:
    """The latest of all runs with the same settings and seed, and the number of runs left out."""
    same = list(dict.fromkeys(["task", "model", "seed", *settings]))
    latest = table.sort_values("finished", kind="stable").drop_duplicates(same, keep="last").sort_index()
    return latest, len(table) - len(latest)


def scored(runs: pd.DataFrame, score: str) -> pd.DataFrame:
    """The runs with a `score`, its `place`, and whether they have `diverged` and `solved` the task.

    Args:
        runs: those that count, because the worst of them decides how bad those that diverged are.
        score: "test", "unseen" or "validation".
    """
    table = runs.copy()
    table["diverged"] = [step is not None for step in table["diverged_at"]]
    for name in ("chance", "solved_at", "validation", "test", "unseen", "seconds", "parameters", "steps"):
        table[name] = pd.to_numeric(table[name]).astype(float)
    if score == "unseen":
        chances = [[row["chance"] for row in rows if row["unseen"]] for rows in table["lengths"]]
        table["chance"] = [np.mean(values) if values else math.nan for values in chances]
    table["score"] = table[score].where(~table["diverged"], worst_scores(table, score))
    places = [place_of(row["score"], row["chance"], row["solved_at"], row["metric"]) for row in records(table)]
    table["place"] = pd.Series(places, index=table.index, dtype=float).mask(
        table["diverged"] & table["solved_at"].notna(), 0
    )
    if score != "test":
        table["solved"] = table["place"] == 1
    table["solved"] = table["solved"].astype(bool) & ~table["diverged"]
    return table


def worst_scores(table: pd.DataFrame, score: str) -> pd.Series:
    """For each run the worst of chance and of the scores on the same task, measured by the same metric."""
    worst = pd.Series(math.nan, table.index)
    for (_, metric), rows in table.groupby(["task", "metric"]):
        values = pd.concat([rows["chance"], rows.loc[~rows["diverged"], score]])
        values = values[values.abs() < LARGEST_SCORE]
        worst[rows.index] = values.min() if metric == "accuracy" else values.max()
    return worst


def grouped(runs: pd.DataFrame, by: list[str]) -> list[pd.DataFrame]:
    """The groups, sorted by task, then by the values, with numbers as numbers; never by their scores."""

    def key(values: tuple[str, ...]) -> list[tuple[float, str]]:
        named = dict(zip(by, values, strict=True))
        return [(size_of(value), value) for value in [named.pop("task", ""), *named.values()]]

    groups: dict[Any, pd.DataFrame] = dict(iter(runs.groupby(by, sort=False)))
    return [groups[values] for values in sorted(groups, key=key)]


def size_of(value: str) -> float:
    """The number by which a value is sorted; words come after all numbers."""
    try:
        return float(value)
    except ValueError:
        return math.inf


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    rows: Any = table.to_dict("records")
    return rows
