"""Pictures of answers that are classes: a confusion matrix, or sequences as colours or as symbols."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from seqmodels.report.sheet import ORANGE, add_legend, blank_entry
from seqmodels.tasks.task import IGNORED

WRITTEN = 20
"""The most classes for which a confusion matrix has its counts written into it."""
CHARACTERS = 100
"""Characters that fit beside each other."""
MARKS, TARGET = ListedColormap(["#CFE6F5", ORANGE, "#EEEEEE"]), 2
"""The colours of right and wrong answers, and of targets."""
WHITESPACE = {" ": "␣", "\n": "⏎", "\t": "⇥"}


def draw_confusion(
    figure: Figure, answers: np.ndarray, targets: np.ndarray, count: int, symbols: Sequence[str] | None
) -> None:
    """How often each class (row) is answered with each class (column), of (batch,) answers."""
    answers, targets = answers[targets != IGNORED], targets[targets != IGNORED]
    counts = np.zeros((count, count), dtype=int)
    np.add.at(counts, (targets, answers), 1)
    axes: Axes = figure.subplots()
    image = axes.imshow(counts, cmap="Blues", vmin=0, aspect="auto")
    axes.set_box_aspect(0.5)
    axes.set(xlabel="answer", ylabel="target")
    axes.set_title(f"{(answers == targets).mean():.1%} of {len(targets)} sequences right", fontsize="small")
    if count > WRITTEN:
        figure.colorbar(image, ax=axes, label="sequences")
        return
    size = min(10, 110 / count)  # in points, of cells about 160 / count high
    for (row, column), number in np.ndenumerate(counts):
        if number:
            color = "white" if number > counts.max() / 2 else "black"
            axes.text(column, row, str(number), ha="center", va="center", color=color, fontsize=size)
    names = [str(number) for number in range(count)] if symbols is None else [visible(symbol) for symbol in symbols]
    crowded = len(names) * max(map(len, names)) > 80
    axes.set_xticks(range(count), names, fontsize=min(size + 1, 10), parse_math=False, rotation=90 * crowded)
    axes.set_yticks(range(count), names, fontsize=min(size + 1, 10), parse_math=False)


def draw_colors(figure: Figure, answers: np.ndarray, targets: np.ndarray, count: int) -> None:
    """Targets and answers (batch, time) of a few sequences, a colour for each class, and which of them are wrong."""
    first, end = scored_steps(targets[:12])
    targets, answers = targets[:12, first:end], answers[:12, first:end]
    blank = targets == IGNORED
    axes, *others = figure.subplots(3, 1, sharex=True)
    colors = colormaps["viridis"].resampled(count)
    for panel, name, part in [(axes, "target", targets), (others[0], "answer", answers)]:
        image = paint(panel, np.ma.array(part, mask=blank), first, colors)
        panel.set(ylabel=name, yticks=[])
    ticks = range(count) if count <= 10 else MaxNLocator(6, integer=True)
    figure.colorbar(image, ax=[axes, others[0]], label="class", ticks=ticks, pad=0.01)
    paint(others[1], np.ma.array(answers != targets, mask=blank), first, MARKS)
    others[1].set(xlabel="step", ylabel="wrong", yticks=[])
    add_legend(figure, extra=marks(blank))


def draw_symbols(figure: Figure, answers: np.ndarray, targets: np.ndarray, symbols: Sequence[str]) -> None:
    """Targets of a few sequences (batch, time), a symbol for each class, and below each of them the answer."""
    names = [visible(symbol) for symbol in symbols]
    widest = max(map(len, names))
    shown = min(len(targets), 4)
    first, last = scored_steps(targets[:shown])
    end = min(last, first + max(CHARACTERS // widest, 1))
    size = min(10, 900 / (end - first) / widest)  # in points
    blank = targets[:shown, first:end] == IGNORED
    for sequence, axes in enumerate(figure.subplots(shown, 1, sharex=True, squeeze=False)[:, 0]):
        rows = np.stack([targets[sequence, first:end], answers[sequence, first:end]])
        cells = np.stack([np.full(end - first, TARGET), rows[0] != rows[1]])
        paint(axes, np.ma.array(cells, mask=[blank[sequence]] * 2), first, MARKS)
        axes.set_yticks([0, 1], ["target", "answer"], fontsize="small")
        for row, step in np.argwhere(~np.stack([blank[sequence]] * 2)):
            axes.text(
                first + step, row, names[rows[row, step]], ha="center", va="center", family="monospace",
                color="black", fontsize=size, parse_math=False, in_layout=False,
            )  # fmt: skip
    axes.set_xlabel("step" if end == last else f"step ({last - end} later ones are not shown)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(figure, extra=marks(blank))


def scored_steps(targets: np.ndarray) -> tuple[int, int]:
    """The first step at which a target (batch, time) is scored, and the one after the last."""
    steps = np.flatnonzero((targets != IGNORED).any(axis=0))
    return (int(steps[0]), int(steps[-1]) + 1) if len(steps) else (0, targets.shape[1])


def paint(axes: Axes, cells: np.ma.MaskedArray, first: int, colors: Colormap) -> AxesImage:
    """Colour cells (rows, steps) by their numbers, from step `first`."""
    rows, steps = cells.shape
    return axes.imshow(
        cells, aspect="auto", interpolation="nearest", cmap=colors, vmin=-0.5, vmax=colors.N - 0.5,
        extent=(first - 0.5, first + steps - 0.5, rows - 0.5, -0.5),
    )  # fmt: skip


def marks(blank: np.ndarray) -> list[Patch]:
    """The legend entries of cells that are right, wrong, or not scored."""
    patches = [Patch(facecolor=MARKS(0), label="right"), Patch(facecolor=MARKS(1), label="wrong")]
    return patches + blank_entry(blank)


def visible(symbol: str) -> str:
    """A symbol as it can be drawn: with a sign for white space, and for characters that the font lacks."""
    font = get_font(findfont("monospace"))
    known = (character if font.get_char_index(ord(character)) else "\N{REPLACEMENT CHARACTER}" for character in symbol)
    return "".join(WHITESPACE.get(character, drawn) for character, drawn in zip(symbol, known, strict=True))
