"""Comparisons of finished runs: means with intervals over seeds, and differences from a baseline.

    found = find_runs(folder)                                        # folders.py
    comparison = compare(found.runs, by=["model", "task"], baseline="nn_rnn", score="test")
    comparison.groups, comparison.pairs, comparison.warnings         # tables (pandas), and sentences
    write_comparison(comparison, folder)                             # output.py

What a run scores, also one that diverged, is defined in scores.py. The intervals and tests are explained in
statistics.py. Of several runs with the same settings and seed, only the latest counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from seqmodels.checks import UserError, check_choice, nearest
from seqmodels.experiments.comparisons.caveats import (
    about_baseline,
    about_left_out,
    about_repeats,
    about_seeds,
    about_settings,
    about_versions,
    unequal,
)
from seqmodels.experiments.comparisons.histories import curves_of, lengths_of
from seqmodels.experiments.comparisons.results import setting_columns
from seqmodels.experiments.comparisons.scores import FACTS, grouped, labelled, records, scored, without_repeats
from seqmodels.experiments.comparisons.statistics import LEVEL, holm, interval, p_value, seeds_needed
from seqmodels.report.place import LARGEST_SCORE
from seqmodels.report.tables import counted, listed
from seqmodels.untrusted.reading import printable

SCORES = ("test", "unseen", "validation")

ROUNDING = 1e-6
"""Scores with a smaller relative difference count as equal: single precision has no more digits."""


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, compared. All tables hold plain strings, numbers and booleans.

    Attributes:
        by: what the runs are grouped by, such as ["model", "task"].
        baseline: the value of one of these with which the other groups are compared; None for no comparison.
        score: "test", "unseen" or "validation".
        pooled: whether means are of places between chance and solved, as where a group contains several tasks, or a
            task was measured by several metrics.
        runs: a row for each run that counts: the columns of `by`, `label`, model, task, seed, metric, score, place,
            solved, diverged, chance, solved_at, validation, test, unseen, steps, seconds, parameters, version, commit,
            finished, folder.
        groups: a row for each group: the columns of `by`, `label`, metric, seeds, runs, mean, low, high (the interval),
            place (the mean place), solved (a number of runs), solved_low and solved_high (the exact interval of the
            share solved), diverged, chance, solved_at, parameters, steps, seconds.
        pairs: a row for each group compared with the baseline: the columns of `by`, `label`, pairs, difference, low,
            high, p, p_holm (corrected), verdict ("better", "worse", "undecided", "same", "no pairs"), seeds_needed
            (about how many would decide an undecided one).
        curves: a row for each validation of each run: label, task, metric, seed, step, value.
        lengths: a row for each tested length of each run of a task tested at several: label, task, metric, seed,
            length, value, chance, unseen, solved_at.
        warnings: sentences about what a reader should know before believing the rest.
    """

    by: list[str]
    baseline: str | None
    score: str
    pooled: bool
    runs: pd.DataFrame
    groups: pd.DataFrame
    pairs: pd.DataFrame
    curves: pd.DataFrame
    lengths: pd.DataFrame
    warnings: list[str]

    @property
    def title(self) -> str:
        """What the table shows."""
        what = "place between chance (0) and solved (1; errors on a logarithmic scale)" if self.pooled else self.score
        over = "tasks and seeds" if self.pooled else "seeds"
        corrected = f", corrected for {counted(len(self.pairs), 'comparison')}"
        against = f"; differences from {self.baseline}{corrected}" if len(self.pairs) else ""
        return f"{'' if not self.pooled else self.score + ': '}{what}, mean over {over} [95 % interval]{against}"


def compare(
    runs: pd.DataFrame,
    by: Sequence[str] = ("model", "task"),
    baseline: str | None = None,
    score: str = "test",
    warnings: Sequence[str] = (),
) -> Comparison:
    """Compare groups of runs.

    Args:
        runs: as `read_runs` returns them.
        by: the settings that define a group, by their dotted names; also model, task, version and commit.
        baseline: a value of one of these. A group is compared with the one that differs from it only in this value.
        score: what is compared: "test", "unseen" (the mean over test lengths that training did not have) or
            "validation".
        warnings: sentences about runs that should be in the table and are not, to which others are added.

    Raises:
        UserError: there are no runs; `by`, `baseline` or `score` is unknown.
    """
    by = list(by)
    settings = [name for name in setting_columns(runs) if name not in ADDED]
    check(runs, settings, by, score)
    latest, repeated = without_repeats(labelled(runs, settings, by), [*settings, *by])
    table = scored(latest, score)
    usable = table[(table[["score", "chance"]].abs() < LARGEST_SCORE).all(axis=1)]  # false if one of them is NaN
    if score == "unseen" and not any(row["unseen"] for rows in table["lengths"] for row in rows):
        raise UserError(
            "score=unseen: these runs were tested at no length that training did not have; such lengths are set when "
            "a task is trained, as by task.test_lengths=[20,40,80] for task.length=10"
        )
    if usable.empty:
        raise UserError(f"none of the {len(table)} runs has a finite {score} score and a finite chance")
    pooled = ("task" not in by and usable["task"].nunique() > 1) or usable.groupby("task")["metric"].nunique().max() > 1
    kept = usable[np.isfinite(usable["place"])] if pooled else usable
    if kept.empty:
        raise UserError(f"none of the {len(table)} runs says at which score its task counts as solved")
    value = "place" if pooled else "score"
    groups = pd.DataFrame([group_of(rows, by, value) for rows in grouped(kept, by)])
    column = column_of(baseline, groups, by)
    pairs = pairs_of(kept, groups, by, column, baseline, value)
    curves, without_curve = curves_of(kept)
    left_out = list(table.loc[table.index.difference(kept.index), "folder"])
    warnings = [
        *warnings,
        *about_left_out(left_out, score, without_curve),
        *about_seeds(kept, groups, pairs, pooled),
        *about_baseline(column, baseline, pairs),
        *about_settings(kept, settings, by),
        *about_repeats(repeated),
        *about_versions(kept, by),
    ]
    shown = list(dict.fromkeys([*by, *RUN_COLUMNS]))
    return Comparison(
        by,
        baseline,
        score,
        pooled,
        kept[shown].reset_index(drop=True),
        groups,
        pairs,
        curves,
        lengths_of(kept),
        warnings,
    )


RUN_COLUMNS = [
    "label", "model", "task", "seed", "metric", "score", "place", "solved", "diverged", "chance", "solved_at",
    "validation", "test", "unseen", "steps", "seconds", "parameters", "version", "commit", "finished", "folder",
]  # fmt: skip

ADDED = {*RUN_COLUMNS, "torch"}
"""The names of columns that are not settings."""


def check(runs: pd.DataFrame, settings: list[str], by: list[str], score: str) -> None:
    """Refuse what cannot be compared, with a UserError."""
    if runs.empty:
        raise UserError("there are no finished runs to compare")
    try:
        check_choice("score", score, SCORES)
    except ValueError as error:
        raise UserError(str(error)) from error
    known = [*FACTS, *settings]
    if not by or len(set(by)) < len(by):
        raise UserError(f"by should name at least one setting, each only once, got {by}")
    for name in by:
        if name == "seed":
            raise UserError("by=seed would compare single runs: groups are compared over their seeds")
        if name not in known:
            ends = [setting for setting in known if setting.endswith(f".{name}")]
            hint = f"; did you mean {' or '.join(map(repr, ends))}?" if ends else nearest(name, known)
            choices = list(dict.fromkeys(["model", "task", *unequal(runs, settings), *known]))
            among = hint or f"; choose from {listed([printable(choice) for choice in choices], 12)}"
            raise UserError(f"by={name}: the runs have no such setting{among}")


def by_task(runs: pd.DataFrame, value: str) -> list[np.ndarray]:
    """The values of each task, one for each seed: the mean, where a group has several runs of a seed."""
    means = runs.groupby(["task", "seed"], sort=False)[value].mean()
    return [sample.to_numpy(float) for _, sample in means.groupby("task", sort=False)]


def group_of(rows: pd.DataFrame, by: list[str], value: str) -> dict[str, Any]:
    """The row of a group."""
    samples = by_task(rows, value)
    low, high = interval(samples)
    share = stats.binomtest(int(rows["solved"].sum()), len(rows)).proportion_ci(LEVEL)

    def only(name: str) -> Any:
        return rows[name].iloc[0] if rows[name].nunique(dropna=False) == 1 else None

    return {
        **{name: rows[name].iloc[0] for name in by},
        "label": rows["label"].iloc[0],
        "metric": only("metric") or "several",
        "seeds": rows["seed"].nunique(),
        "runs": len(rows),
        "mean": float(np.mean([sample.mean() for sample in samples])),
        "low": low,
        "high": high,
        "place": float(np.mean([sample.mean() for sample in by_task(rows, "place")])),
        "solved": int(rows["solved"].sum()),
        "solved_low": float(share.low),
        "solved_high": float(share.high),
        "diverged": int(rows["diverged"].sum()),
        "chance": only("chance"),
        "solved_at": only("solved_at"),
        "parameters": only("parameters"),
        "steps": only("steps"),
        "seconds": float(rows["seconds"].mean()),
    }


def column_of(baseline: str | None, groups: pd.DataFrame, by: list[str]) -> str | None:
    """The column of `by` that has the baseline among its values; None without a baseline.

    Raises:
        UserError: no column has it.
    """
    if baseline is None:
        return None
    columns = [name for name in by if name != "task"]
    for name in columns:
        if baseline in set(groups[name]):
            return name
    values = [value for name in columns for value in dict.fromkeys(groups[name])]
    among = f" (one of: {', '.join(values)})" if values else ""
    raise UserError(f"baseline={baseline}: no group is called that{nearest(baseline, values)}{among}")


PAIR_COLUMNS = ["pairs", "difference", "low", "high", "p", "p_holm", "verdict", "seeds_needed"]


def pairs_of(
    runs: pd.DataFrame, groups: pd.DataFrame, by: list[str], column: str | None, baseline: str | None, value: str
) -> pd.DataFrame:
    """A row for each group other than the baseline's: its differences, tested and judged."""
    rows, tested = [], []
    for row in records(groups):
        if column is None or row[column] == baseline:
            continue
        own, other = (
            runs[np.logical_and.reduce([runs[name] == wanted[name] for name in by])]
            for wanted in (row, row | {column: baseline})
        )
        both = pd.concat(
            [part.groupby(["task", "seed"], sort=False)[value].mean() for part in (own, other)], axis=1, join="inner"
        )
        differences = both.iloc[:, 0] - both.iloc[:, 1]
        differences[np.isclose(both.iloc[:, 0], both.iloc[:, 1], rtol=ROUNDING, atol=0)] = 0
        samples = [sample.to_numpy(float) for _, sample in differences.groupby("task", sort=False)]
        rows.append({name: row[name] for name in [*by, "label"]} | {"pairs": len(both)})
        tested.append((samples, 1 if value == "place" or row["metric"] == "accuracy" else -1))
    p_values = iter(holm([p_value(samples) for samples, _ in tested if samples]))
    comparisons = sum(bool(samples) for samples, _ in tested)
    for row, (samples, direction) in zip(rows, tested, strict=True):
        row |= dict.fromkeys(PAIR_COLUMNS[1:], math.nan) | {"verdict": "no pairs"}
        if not samples:
            continue
        row["difference"] = float(np.mean([sample.mean() for sample in samples]))
        row["low"], row["high"] = interval(samples)
        row["p"], row["p_holm"] = p_value(samples), float(next(p_values))
        row["verdict"] = "undecided"
        if not any(sample.any() for sample in samples):
            row["verdict"] = "same"
        elif row["p_holm"] <= 1 - LEVEL + 1e-12:
            row["verdict"] = "better" if direction * row["difference"] > 0 else "worse"
        if row["verdict"] == "undecided":
            row["seeds_needed"] = seeds_needed(samples, comparisons)
    return pd.DataFrame(rows, columns=[*by, "label", *PAIR_COLUMNS])
