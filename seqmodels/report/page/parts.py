"""What pages are made of: figures with a caption, and tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from seqmodels.report.page.render import shown
from seqmodels.report.page.svg import SMALL, WIDE, figure_of, ink, svg_of
from seqmodels.untrusted.reading import printable

ROWS = 300
"""The most rows of a table that are shown; a file may contain any number."""


@dataclass(frozen=True)
class Plot:
    """A figure with its title, and a sentence that says how to read it."""

    title: str
    text: str
    svg: Markup
    wide: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of strings; the first column names its rows, and the columns in `numbers` are aligned to the right."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: set[int]


@dataclass(frozen=True)
class Section:
    """A part of a page."""

    title: str
    text: str = ""
    plots: list[Plot] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)


class Plots:
    """Draws the figures of a page. A figure that cannot be drawn is replaced by a note.

    Figures are drawn from files, which may contain any number.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.count = 0

    def draw(
        self, title: str, text: str, fill: Callable[[Figure], None], wide: bool = False, size: Any = None
    ) -> list[Plot]:
        """The plot that `fill` draws into an empty figure; empty if that fails."""
        with ink():
            figure = figure_of(size or (WIDE if wide else SMALL))
        return self.show(title, text, figure, fill, wide)

    def show(
        self, title: str, text: str, figure: Figure, fill: Callable[[Figure], None] | None = None, wide: bool = True
    ) -> list[Plot]:
        """The plot of a figure, which `fill` completes; empty if that fails."""
        self.count += 1
        try:
            with ink():
                if fill is not None:
                    fill(figure)
                svg = svg_of(figure, f"plot{self.count}", f"{title}. {text}")
        except Exception as error:
            self.notes.append(f"{title}: the picture cannot be drawn ({printable(error, 200)})")
            return []
        return [Plot(title, text, Markup(svg), wide)]


def grid_of(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], numbers: set[int]) -> Grid:
    """A table of any values. If there are too many rows, only the first are shown, and the caption says so."""
    if len(rows) > ROWS:
        caption = f"{caption} Only the first {ROWS} of {len(rows)} rows are shown."
    return Grid(caption, head, [[shown(cell) for cell in row] for row in rows[:ROWS]], numbers)
