"""The page of a comparison of runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure

from seqmodels import __version__
from seqmodels.report.page.parts import Plot, Plots, grid_of
from seqmodels.report.page.render import render, shown
from seqmodels.report.page.svg import ink
from seqmodels.untrusted.reading import printable

RUNS = 3000
"""The most runs that are listed."""

CAPTIONS = {
    "heatmap": (
        "Between chance and solved",
        "Each cell is the mean over the seeds of the place between chance (0) and solved (1). Errors are placed on a "
        "logarithmic scale. Runs that diverged have the place 0, and an asterisk marks their cells.",
    ),
    "intervals": (
        "Means with intervals",
        "Points are means over the seeds, lines their 95 % intervals, small marks single runs. Overlapping intervals "
        "do not mean that two models are equal; the verdicts in the table come from paired tests.",
    ),
    "curves": (
        "Learning curves",
        "The validation metric during training: the mean over the seeds, with a band over all of them, or over the "
        "middle half if there are more than four groups.",
    ),
    "lengths": (
        "Score by length",
        "The test metric at each length: the mean over the seeds, with a band over all of them, or over the middle "
        "half if there are more than four groups. Lengths outside the shaded range are unseen.",
    ),
}
"""The titles of the pictures of a comparison, and how to read them."""


@dataclass(frozen=True)
class ComparisonContent:
    """What the page of a comparison shows."""

    title: str
    about: str
    """What was compared, in a sentence or two."""
    commands: list[str]
    """The command that made the runs, if it is known, and the one that compares them."""
    warnings: list[str]
    table_title: str
    header: list[str]
    rows: list[list[str]]
    figures: Callable[[], dict[str, Figure]]
    """Draws the pictures by their names, those of `CAPTIONS`."""
    runs: list[dict[str, Any]]
    """A row for each run, by the names of the columns; "link" and "page" are paths from the page, or None."""
    versions: list[list[str]]
    """Rows of version, commit, and the number of runs."""


def comparison_page(content: ComparisonContent) -> str:
    """The page as HTML."""
    plots, glance, drawn = Plots(), list[Plot](), list[Plot]()
    with ink():
        figures = content.figures()
    for name, figure in figures.items():
        title, text = CAPTIONS.get(name, (name, ""))
        figure.suptitle("")  # the caption says it
        (glance if name == "heatmap" else drawn).extend(plots.show(title, text, figure))
    names = [name for name in (content.runs[0] if content.runs else {}) if name not in ("link", "page", "folder")]
    runs = [
        {
            "cells": [cell_of(run[name]) for name in names],
            "folder": printable(run["folder"]),
            "link": None if run["link"] is None else quote(run["link"]),
            "page": None if run["page"] is None else quote(run["page"]),
        }
        for run in content.runs[:RUNS]
    ]
    numbers = {place for place, name in enumerate(names) if any(is_number(run[name]) for run in content.runs)}
    return render(
        "comparison.html",
        version=__version__,
        title=printable(content.title),
        about=content.about,
        commands=content.commands,
        warnings=[printable(line) for line in content.warnings + plots.notes],
        table=grid_of(printable(content.table_title, 500), content.header, content.rows, numeric_columns(content.rows)),
        glance=glance,
        plots=drawn,
        names=names,
        numbers=numbers,
        runs=runs,
        more=max(0, len(content.runs) - RUNS),
        versions=grid_of("The versions and commits of the runs.", ["version", "commit", "runs"], content.versions, {2}),
    )


def cell_of(value: Any) -> dict[str, str]:
    """A cell with its text, and the value by which its column is sorted."""
    return {"text": shown(value), "value": repr(float(value)) if is_number(value) else ""}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def numeric_columns(rows: list[list[str]]) -> set[int]:
    """The columns whose cells all begin like numbers, or are empty."""
    return {
        place
        for place, column in enumerate(zip(*rows, strict=True))
        if place and any(column) and all(not cell or cell[0] in "+-0123456789" for cell in column)
    }
