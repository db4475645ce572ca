"""The runs of a folder, to be compared: those of a sweep, or all below it."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from seqmodels.checks import UserError
from seqmodels.config.folders import name_in
from seqmodels.experiments.comparisons.caveats import about_unread
from seqmodels.experiments.comparisons.results import read_runs, setting_columns
from seqmodels.experiments.sweeps.sweep import read_sweep
from seqmodels.untrusted.reading import RunFolderError, printable, run_folder_errors


@dataclass(frozen=True)
class FoundRuns:
    """The finished runs of a folder.

    Attributes:
        runs: as `read_runs` returns them.
        by: what distinguishes groups of these runs: model, task, and the other settings that a sweep has varied.
        errors: one for each result that was left out.
        warnings: sentences about what is missing, for those who read the comparison.
    """

    runs: pd.DataFrame
    by: list[str]
    errors: list[RunFolderError]
    warnings: list[str]


def find_runs(folder: Path) -> FoundRuns:
    """The runs of a folder: those that its sweep.json names, otherwise all below it, without the trials of a search.

    Raises:
        UserError: there is no finished run that can be read.
    """
    named, damaged = named_runs(folder)
    finished = finished_of(named, folder, damaged)
    unfinished = [printable(run) for run in named if run not in finished]
    runs, errors = read_runs(finished)
    if runs.empty:
        raise UserError(f"none of the {len(errors)} results in {printable(folder)} can be compared; {errors[0]}")
    varied = settings_varied(named.values())
    by = ["model", "task", *(name for name in varied if name in setting_columns(runs))]
    unread = [printable(run) for run in finished if str(run) not in set(runs["folder"])]
    sweep = damaged is None and (folder / "sweep.json").exists()
    return FoundRuns(runs, by, errors, list(about_unread(unfinished, unread, damaged, sweep)))


def named_runs(folder: Path) -> tuple[dict[Path, list[str]], RunFolderError | None]:
    """The run folders that a folder's sweep.json names, with their overrides; otherwise all below it, without any.

    If sweep.json is damaged, all below it, and the error.
    """
    damaged = None
    if (folder / "sweep.json").exists():
        try:
            return runs_of(folder), None
        except RunFolderError as error:
            damaged = error
    return {run: [] for run in below(folder)}, damaged


def finished_of(named: Iterable[Path], folder: Path, damaged: RunFolderError | None) -> list[Path]:
    """Those of the run folders of a folder that hold a result.

    Raises:
        UserError: none does. The message says whether sweep.json is damaged.
    """
    named = list(named)
    finished = [run for run in named if os.path.exists(run / "result.json")]  # raises no error about long names
    if not finished and damaged is not None:
        raise RunFolderError(f"{damaged}; the command of the sweep, typed again, writes it anew")
    if not finished:
        found = "only unfinished ones" if named else "none"
        raise UserError(f"expected finished runs in {printable(folder)}, found {found}")
    return finished


def below(folder: Path) -> list[Path]:
    """All run folders below a folder, except the trials of searches."""
    named = sorted({file.parent for name in ("result.json", "config.yaml") for file in folder.rglob(name)})
    tuned = {file.parent for file in folder.rglob("study.db")}
    return [run for run in named if tuned.isdisjoint(run.parents)]


def runs_of(sweep: Path) -> dict[Path, list[str]]:
    """The run folders that the sweep.json in a folder names, with their overrides.

    Raises:
        RunFolderError: it is not one that a sweep writes.
    """
    runs = read_sweep(sweep).get("runs")
    with run_folder_errors(sweep / "sweep.json"):
        if not isinstance(runs, list) or not all(
            isinstance(run, dict) and "folder" in run and isinstance(run["folder"], str | None) for run in runs
        ):
            raise ValueError("it is damaged: runs should be a list of runs with their folders")
        named: dict[Path, list[str]] = {}
        for run in runs:
            if run["folder"] is not None:  # null: its settings are wrong
                named.setdefault(Path(os.path.normpath(sweep / run["folder"])), words_of(run.get("overrides")))
        return named


def words_of(overrides: Any) -> list[str]:
    """The overrides of a run; none if they are not as a sweep writes them."""
    return [str(word) for word in overrides] if isinstance(overrides, list) else []


def settings_varied(overrides: Iterable[list[str]]) -> list[str]:
    """The settings, except the seed, in which runs of the same model, in the same blocks, on the same task differ.

    >>> settings_varied([["model=rnn", "lr=1", "optimizer=adam"], ["model=gru", "lr=2", "optimizer=adam"]])
    []
    >>> settings_varied([["model=rnn", "lr=1", "seed=1"], ["model=rnn", "lr=2", "seed=2"]])
    ['lr', 'lr._target_']
    >>> settings_varied([["model=rnn", "block=none"], ["model=rnn", "block=prenorm"]])
    []
    """
    values: dict[tuple[str | None, ...], set[str]] = {}
    for words in overrides:
        pairs = {name_in(word): word.partition("=")[2] for word in words}
        for name, value in pairs.items():
            key = (pairs.get("model"), pairs.get("block"), pairs.get("task"), name)
            values.setdefault(key, set()).add(value)
    names = dict.fromkeys(str(name) for (*_, name), found in values.items() if len(found) > 1 and name != "seed")
    return [part for name in names for part in (name, f"{name}._target_")]  # of a value, or of a choice


def comparison_folder(folder: Path, own: list[str], by: list[str], score: str) -> Path:
    """Where a comparison of the runs of a folder is written, so that it replaces no answer to another question.

    Args:
        own: what distinguishes the groups of these runs; a comparison by this, of the test, is in `comparison`.
        by: what the runs are grouped by, as in `comparison-by-model`.
        score: what is compared, as in `comparison-by-model-task-unseen`.
    """
    if by == own and score == "test":
        return folder / "comparison"
    words = ["comparison-by", *by, *([] if score == "test" else [score])]
    return folder / re.sub(r"[^-.\w]", "-", "-".join(words))[:200]


def folder_in(setting: Any) -> Path:
    """The folder that a setting of a command names.

    Raises:
        UserError: there is none.
    """
    if setting is None or str(setting) == "":
        raise UserError(
            f"folder should name a folder with runs, such as outputs, got {'null' if setting is None else repr('')}"
        )
    folder = Path(str(setting))
    if not folder.is_dir():
        raise UserError(f"folder={printable(folder)}: there is no such folder")
    return folder
