"""Comparisons of finished runs: means with intervals over seeds, and differences from a baseline.

    runs, errors = read_runs(folders)                                # experiments/results.py
    comparison = compare(runs, by=["model", "task"], baseline="nn_rnn", score="test")
    comparison.groups, comparison.pairs, comparison.warnings         # tables (pandas), and sentences
    write_comparison(comparison, folder)

The intervals and tests are explained in `seqmodels.experiments.statistics`.

Different metrics cannot be averaged. Where a group contains several tasks or metrics, each score is replaced by its
**place** between chance (0) and solved (1), on a linear scale for accuracy, and for errors on a logarithmic scale if
both ends are positive. Scores worse than chance have the place 0, and those better than solved have the place 1.

A run that diverged counts as chance and as unsolved. Of several runs with the same settings and seed, only the latest
counts.
"""

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from seqmodels.checks import UserError, check_choice, nearest
from seqmodels.experiments.caveats import about_missing, about_repeats, about_seeds, about_settings, about_versions
from seqmodels.experiments.results import read_runs, settings_in, short_names, short_value
from seqmodels.experiments.statistics import LEVEL, holm, interval, p_value, seeds_needed
from seqmodels.experiments.sweep import read_sweep
from seqmodels.files import write_whole
from seqmodels.report.comparisons import pictures
from seqmodels.report.folder import write_picture
from seqmodels.report.tables import counted, latex_table, markdown_table, significant, with_interval
from seqmodels.untrusted.reading import (
    RunFolderError,
    printable,
    read_file,
    run_folder_errors,
    without_markup,
)

SCORES = ("test", "unseen", "validation")

FACTS = ("model", "task", "version", "commit")
"""What runs can be grouped by besides their settings."""

LARGEST = 1e100
"""A score of this size is not a measurement, and powers of it would overflow."""

ROUNDING = 1e-6
"""Scores with a smaller relative difference count as equal: single precision has no more digits."""

METRICS_LIMIT = 2**26
"""The size in bytes of the largest metrics.csv that is read: about a million rows."""


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, compared. All tables hold plain strings, numbers and booleans.

    Attributes:
        by: what the runs are grouped by, such as ["model", "task"].
        baseline: the value of one of these with which the other groups are compared; None for no comparison.
        score: "test", "unseen" or "validation".
        pooled: whether means are of places between chance and solved, as where a group contains several tasks or
            metrics.
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
    unfinished: Sequence[str] = (),
    errors: Sequence[RunFolderError] = (),
) -> Comparison:
    """Compare groups of runs.

    Args:
        runs: as `read_runs` returns them.
        by: the settings that define a group, by their dotted names; also model, task, version and commit.
        baseline: a value of one of these. A group is compared with the one that differs from it only in this value.
        score: what is compared: "test", "unseen" (the mean over test lengths that training did not have) or
            "validation".
        unfinished: the folders of runs that have not finished, for a warning.
        errors: about results that could not be read, for a warning.

    Raises:
        UserError: there are no runs; `by`, `baseline` or `score` is unknown.
    """
    by = list(by)
    settings = [name for name in settings_in(runs) if name not in ADDED]
    check(runs, settings, by, score)
    table, repeated = without_repeats(described(runs, settings, by, score), [*settings, *by])
    usable = table[(table[["score", "chance"]].abs() < LARGEST).all(axis=1)]  # false if one of them is NaN
    if usable.empty:
        raise UserError(f"none of the {len(table)} runs has a finite {score} score and a finite chance")
    pooled = ("task" not in by and usable["task"].nunique() > 1) or usable.groupby(by)["metric"].nunique().max() > 1
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
        *about_missing(unfinished, errors, left_out, score, without_curve),
        *about_seeds(kept, groups, pairs, pooled),
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
            raise UserError(f"by={name}: the runs have no such setting{hint}")


def described(runs: pd.DataFrame, settings: list[str], by: list[str], score: str) -> pd.DataFrame:
    """The runs with the columns that a comparison adds, and with the columns of `by` as short text."""
    table = runs.copy()
    for name in {"model", "task", "metric", *settings}:
        table[name] = [None if value is None else printable(value, 60) for value in table[name]]
    table["version"] = [printable(versions.get("seqmodels", "unknown"), 50) for versions in table["versions"]]
    table["torch"] = [printable(versions.get("torch", "unknown"), 50) for versions in table["versions"]]
    table["commit"] = ["none" if commit is None else printable(commit, 50) for commit in table["git"]]
    table["diverged"] = [step is not None for step in table["diverged_at"]]
    for name in ("chance", "solved_at", "validation", "test", "unseen", "seconds", "parameters", "steps"):
        table[name] = pd.to_numeric(table[name]).astype(float)
    if score == "unseen":
        chances = [[row["chance"] for row in rows if row["unseen"]] for rows in table["lengths"]]
        table["chance"] = [np.mean(values) if values else math.nan for values in chances]
    table["score"] = table[score].where(~table["diverged"], table["chance"])
    table["place"] = [place_of(row["score"], row["chance"], row["solved_at"], row["metric"]) for row in records(table)]
    if score != "test":
        table["solved"] = table["place"] == 1
    table["solved"] = table["solved"].astype(bool) & ~table["diverged"]
    for name in by:
        table[name] = ["none" if value is None else short_value(value) for value in table[name]]
    short = short_names([name for name in by if name not in FACTS])
    parts: Any = [
        table[name] if name == "model" else f"{short.get(name, name)}=" + table[name] for name in by if name != "task"
    ]
    table["label"] = parts[0].str.cat(parts[1:], sep=" ") if parts else "all runs"
    return table


def place_of(score: float, chance: float, solved_at: float, metric: str) -> float:
    """The place of a score between chance (0) and solved (1); NaN if it is not defined.

    >>> place_of(0.745, 0.5, 0.99, "accuracy"), place_of(0.2, 0.1, 0.001, "mse"), place_of(0.25, 4, 1, "mse")
    (0.5, 0.0, 1.0)
    """
    if not all(map(math.isfinite, (score, chance, solved_at))):
        return math.nan
    sign = 1 if metric == "accuracy" else -1
    if chance == solved_at:
        return float(sign * score >= sign * solved_at)
    if metric != "accuracy" and min(chance, solved_at) > 0:
        if score <= 0:
            return 1.0
        score, chance, solved_at = (math.log(value) for value in (score, chance, solved_at))
    return min(1.0, max(0.0, (score - chance) / (solved_at - chance)))


def without_repeats(table: pd.DataFrame, settings: list[str]) -> tuple[pd.DataFrame, int]:
    """The latest of all runs with the same settings and seed, and the number of runs left out."""
    same = list(dict.fromkeys(["task", "model", "seed", *settings]))
    latest = table.sort_values("finished", kind="stable").drop_duplicates(same, keep="last").sort_index()
    return latest, len(table) - len(latest)


def grouped(runs: pd.DataFrame, by: list[str]) -> list[pd.DataFrame]:
    """The groups, sorted by task, then by the values, with numbers as numbers; never by their scores."""

    def key(values: tuple[str, ...]) -> list[tuple[float, str]]:
        named = dict(zip(by, values, strict=True))
        return [(as_number(value), value) for value in [named.pop("task", ""), *named.values()]]

    groups: dict[Any, pd.DataFrame] = dict(iter(runs.groupby(by, sort=False)))
    return [groups[values] for values in sorted(groups, key=key)]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table."""
    rows: Any = table.to_dict("records")
    return rows


def as_number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return math.inf


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


def curves_of(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The validation metric of each run over the steps, and the folders of runs without a readable metrics.csv."""
    parts, missing = [], []
    for run in records(runs):
        try:
            steps = validations(Path(run["folder"]) / "metrics.csv", f"val_{run['metric']}")
        except RunFolderError:
            missing.append(run["folder"])
        else:
            parts.append(steps.assign(label=run["label"], task=run["task"], metric=run["metric"], seed=run["seed"]))
    names = ["label", "task", "metric", "seed", "step", "value"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names), missing


def validations(file: Path, column: str) -> pd.DataFrame:
    """The numbers of completed steps, and the values of a column, of a metrics.csv.

    Raises:
        RunFolderError: the file is not a metrics.csv with this column.
    """
    content = read_file(file, METRICS_LIMIT)
    with run_folder_errors(file):
        table = pd.read_csv(io.BytesIO(content), usecols=["step", column]).apply(pd.to_numeric)
        table = table[(table.abs() < LARGEST).all(axis=1)].astype(float)
    # The logger counts steps from 0; checkpoints count completed steps.
    return pd.DataFrame({"step": table["step"] + 1, "value": table[column]})


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


def runs_in(folder: Path) -> tuple[pd.DataFrame, list[RunFolderError], list[str]]:
    """The runs of a folder: those that its sweep.json names, otherwise all below it, without the trials of a search.

    Returns:
        The table of finished runs, an error for each that was left out, and the folders of the runs that have not
        finished.

    Raises:
        UserError: there is no run, or sweep.json is not one that a sweep writes.
    """
    if (folder / "sweep.json").exists():
        named = folders_of(folder)
    else:
        named = sorted({file.parent for name in ("result.json", "config.yaml") for file in folder.rglob(name)})
        tuned = {file.parent for file in folder.rglob("study.db")}
        named = [run for run in named if tuned.isdisjoint(run.parents)]
    finished = [run for run in named if os.path.exists(run / "result.json")]  # raises no error about long names
    unfinished = [printable(run) for run in named if run not in finished]
    if not finished:
        raise UserError(
            f"expected finished runs in {printable(folder)}, found {'none' if not named else 'only unfinished ones'}"
        )
    runs, errors = read_runs(finished)
    if runs.empty:
        raise UserError(f"none of the {len(errors)} results in {printable(folder)} can be compared; {errors[0]}")
    return runs, errors, unfinished


def folders_of(sweep: Path) -> list[Path]:
    """The run folders that the sweep.json in a folder names."""
    runs = read_sweep(sweep).get("runs")
    with run_folder_errors(sweep / "sweep.json"):
        if not isinstance(runs, list) or not all(
            isinstance(run, dict) and isinstance(run.get("folder"), str | None) for run in runs
        ):
            raise ValueError("runs should be a list of runs with their folders")
        named = [run["folder"] for run in runs if run.get("folder") is not None]  # null: its settings are wrong
        return list(dict.fromkeys(Path(os.path.normpath(sweep / folder)) for folder in named))


def cells_of(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The table of a comparison as strings: a header, and a row for each group."""
    groups, pairs = comparison.groups, comparison.pairs
    partners = {tuple(row[name] for name in comparison.by): row for row in records(pairs)}
    short = short_names([name for name in comparison.by if name not in FACTS])
    rows = []
    for row in records(groups):
        cells = {short.get(name, name): row[name] for name in comparison.by}
        if not comparison.pooled:
            cells["metric"] = row["metric"]
        cells["mean [95 %]"] = with_interval(row["mean"], row["low"], row["high"])
        cells["seeds"] = str(row["seeds"])
        share = f"[{row['solved_low']:.2f}, {row['solved_high']:.2f}]"
        cells["solved [95 %]"] = f"{row['solved']} of {row['runs']} {share}"
        if groups["diverged"].any():
            cells["diverged"] = str(row["diverged"] or "")
        cells["parameters"] = "" if pd.isna(row["parameters"]) else f"{row['parameters']:.0f}"
        if len(pairs):
            cells |= pair_cells(partners.get(tuple(row[name] for name in comparison.by)))
        rows.append(cells)
    return list(rows[0]), [list(cells.values()) for cells in rows]


def pair_cells(pair: dict[str, Any] | None) -> dict[str, str]:
    """The difference from the baseline, its corrected p-value, the verdict, and the seeds needed for one."""
    cells = {"difference [95 %]": "", "p": "", "verdict": "baseline", "seeds needed": ""}
    if pair is None:
        return cells
    cells["verdict"] = pair["verdict"]
    if pair["pairs"]:
        cells["difference [95 %]"] = with_interval(pair["difference"], pair["low"], pair["high"], sign="+")
        cells["p"] = significant(pair["p_holm"], 2)
    if pair["verdict"] == "undecided" and not math.isnan(pair["seeds_needed"]):
        needed = pair["seeds_needed"]
        cells["seeds needed"] = f"about {needed:.0f}" if needed <= 1000 else "over 1000"
    return cells


def markdown(comparison: Comparison) -> str:
    """The table and the warnings as Markdown."""
    header, rows = cells_of(comparison)
    table = markdown_table(
        [without_markup(name) for name in header], [[without_markup(cell) for cell in row] for row in rows]
    )
    lines = [without_markup(comparison.title), "", table, ""]
    lines += [f"- {without_markup(warning)}" for warning in comparison.warnings]
    return "\n".join(lines).rstrip() + "\n"


def write_comparison(comparison: Comparison, folder: Path) -> None:
    """Write the tables and pictures of a comparison into a folder.

    runs.csv (a row for each run), comparison.csv (a row for each group), comparison.md, comparison.tex, heatmap.png,
    intervals.png, curves.png and, for tasks that are tested at several lengths, lengths.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = comparison.pairs.drop(columns="label").rename(columns={"low": "difference_low", "high": "difference_high"})
    groups = comparison.groups.merge(pairs, on=comparison.by, how="left") if len(pairs) else comparison.groups
    for name, table in {"runs.csv": comparison.runs, "comparison.csv": groups}.items():
        write_whole(folder / name, table.to_csv(index=False, lineterminator="\n").encode())
    write_whole(folder / "comparison.md", markdown(comparison).encode())
    write_whole(folder / "comparison.tex", latex_table(*cells_of(comparison), comparison.title).encode())
    for name, figure in drawn(comparison).items():
        write_picture(figure, folder / f"{name}.png")


def drawn(comparison: Comparison) -> dict[str, Figure]:
    """The pictures of a comparison by their names."""
    tables = comparison.runs, comparison.groups, comparison.curves, comparison.lengths
    return pictures(*tables, comparison.pooled, comparison.score)
