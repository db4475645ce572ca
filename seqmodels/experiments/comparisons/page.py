"""What the page of a comparison shows, gathered from the comparison."""

import os
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from seqmodels.config.folders import override
from seqmodels.experiments.comparisons.comparison import Comparison
from seqmodels.experiments.comparisons.output import drawn, header_and_rows
from seqmodels.experiments.sweeps.sweep import read_sweep
from seqmodels.files import write_whole
from seqmodels.report.page.comparison import ComparisonContent, comparison_page
from seqmodels.report.tables import counted
from seqmodels.untrusted.reading import RunFolderError, printable

RUN_COLUMNS = {
    "model": "model", "task": "task", "seed": "seed", "test": "test", "validation": "validation", "unseen": "unseen",
    "place": "place", "solved": "solved", "diverged": "diverged", "steps": "steps", "seconds": "seconds",
    "parameters": "parameters",
}  # fmt: skip
"""The columns of the list of runs; settings that are compared come after the task."""


def write_comparison_page(comparison: Comparison, folder: Path) -> Path:
    """Write page.html into the folder of a comparison, which lies in that of the runs; return its path."""
    header, rows = header_and_rows(comparison)
    runs = comparison.runs
    tasks, seeds = runs["task"].nunique(), runs["seed"].nunique()
    names = " and ".join(filter(None, [", ".join(comparison.by[:-1]), comparison.by[-1]]))
    about = f"{counted(len(runs), 'run')} on {counted(tasks, 'task')} with {counted(seeds, 'seed')}, grouped by {names}"
    about += f", with {comparison.baseline} as the baseline." if comparison.baseline else "."
    versions = runs.groupby(["version", "commit"], as_index=False).size()
    content = ComparisonContent(
        title=f"Comparison of {printable(folder.absolute().parent.name)}",
        about=about,
        commands=commands_of(comparison, folder),
        warnings=comparison.warnings,
        table_title=comparison.title,
        header=header,
        rows=rows,
        figures=lambda: drawn(comparison),
        runs=[row_of(row, comparison, folder) for row in runs.to_dict("records")],
        versions=[list(map(str, row)) for row in versions.to_numpy().tolist()],
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "page.html", comparison_page(content).encode())
    return folder / "page.html"


def commands_of(comparison: Comparison, folder: Path) -> list[str]:
    """The command of the sweep, if its sweep.json names one, and the command of the comparison."""
    words = [override("folder", folder.parent), f"by=[{','.join(comparison.by)}]"]
    words += [] if comparison.baseline is None else [override("baseline", comparison.baseline)]
    words += [] if comparison.score == "test" else [f"score={comparison.score}"]
    commands = [f"seqmodels compare {' '.join(map(shlex.quote, words))}"]
    try:
        command = read_sweep(folder.parent).get("command")
    except RunFolderError:
        return commands
    if isinstance(command, list):
        command = shlex.join(map(str, command))
    return [printable(command, 2000), *commands] if isinstance(command, str) and command else commands


def row_of(row: dict[Any, Any], comparison: Comparison, folder: Path) -> dict[str, Any]:
    """A run as the page lists it."""
    names = {name: title for name, title in RUN_COLUMNS.items() if not comparison.runs[name].isna().all()}
    settings = [name for name in comparison.by if name not in RUN_COLUMNS]
    listed = {name: row[name] for name in ("model", "task", *settings)}
    listed |= {title: plain(row[name]) for name, title in names.items() if name not in listed}
    if not comparison.runs["diverged"].any():
        listed.pop("diverged", None)
    run = Path(str(row["folder"]))
    link = linked(run, folder) if run.is_dir() else None
    page = linked(run / "page.html", folder) if (run / "page.html").is_file() else None
    return listed | {"folder": linked(run, folder.parent) or run, "link": link, "page": page}


def plain(value: Any) -> Any:
    """A cell of a table without NaN, and whole numbers as such."""
    if isinstance(value, bool | str):
        return value
    if value is None or pd.isna(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) >= 10 else float(value)


def linked(target: Path, folder: Path) -> str | None:
    """The relative path from a folder to a file; None if there is none, as between two drives on Windows."""
    try:
        return Path(os.path.relpath(target, folder)).as_posix()
    except ValueError:
        return None
