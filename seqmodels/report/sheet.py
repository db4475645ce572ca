"""The sheet that every picture is drawn on: its size, title, legend and colours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.patches import Patch

BLUE, SKY, ORANGE, RED = "#0072B2", "#56B4E9", "#E69F00", "#D55E00"
GREEN, PURPLE, GRAY = "#009E73", "#CC79A7", "#777777"
"""Colours that colour-blind readers can tell apart: Masataka Okabe and Kei Ito, "Color Universal Design", 2008."""


def sheet(title: str) -> Figure:
    """An empty figure of 9 x 3.5 inches, which `savefig` writes at 120 dots per inch."""
    figure = Figure(figsize=(9, 3.5), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize="medium", parse_math=False)
    return figure


def title_of(result: dict[str, Any]) -> str:
    """The title of all pictures of a run."""
    return f"{result['model']} on {result['task']}, seed {result['seed']}"


def add_legend(figure: Figure, columns: int = 4, extra: Sequence[Artist] = ()) -> None:
    """One legend for all axes and some extra entries, below the axes, where it covers nothing."""
    entries = {str(artist.get_label()): artist for artist in extra}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    options: Any = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": "small"}
    figure.legend(list(entries.values()), list(entries), **options)


def blank_entry(blank: np.ndarray) -> list[Patch]:
    """The legend entry for blank positions, if there are any."""
    return [Patch(facecolor="white", edgecolor=GRAY, label="blank: not scored")] if blank.any() else []
