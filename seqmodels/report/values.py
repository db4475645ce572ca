"""Pictures of answers that are numbers: signals, forecasts and single numbers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from seqmodels.report.sheet import BLUE, GRAY, RED, add_legend, blank_entry

SHOWN = 4
"""The most numbers of an answer that are drawn, each in a column of its own."""
PERIOD = 1000
"""The most steps of a test period that are drawn."""


def draw_signals(figure: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Targets and answers (batch, time, targets) of up to three sequences over time, NaN where not scored."""
    grid = figure.subplots(min(len(targets), 3), columns_of(targets), sharex=True, squeeze=False)
    for sequence, row in enumerate(grid):
        for target, axes in enumerate(row):
            axes.plot(targets[sequence, :, target], color=GRAY, linewidth=2.5, alpha=0.7, label="target")
            axes.plot(outputs[sequence, :, target], "--", color=RED, label="answer")
            axes.margins(x=0.01)
            axes.set_xlim(-0.5, targets.shape[1] - 0.5)
            axes.tick_params(labelsize="small")
        row[0].set_ylabel(f"sequence {sequence + 1}", fontsize="small")
    name_columns(grid, targets)
    for axes in grid[-1]:
        axes.set_xlabel("step", fontsize="small")
    add_legend(figure, extra=blank_entry(np.isnan(targets[: len(grid)])))


def draw_series(
    figure: Figure,
    outputs: np.ndarray,
    targets: np.ndarray,
    quantiles: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
) -> None:
    """A measured series (time, targets) over the test period with its forecasts, and below them their errors.

    With `quantiles`, outputs are (time, targets * quantiles), and the range from the lowest to the highest is a band
    around the median. With `names` of the targets, the first and the last two are drawn, else the first ones.
    """
    levels = list(quantiles or [0.5])
    outputs = outputs[:PERIOD].reshape(len(outputs[:PERIOD]), -1, len(levels))
    targets = targets[:PERIOD]
    middle, count = levels.index(0.5), targets.shape[-1]
    shown = range(count)[:SHOWN] if names is None or count <= SHOWN else [0, 1, count - 2, count - 1]
    grid = figure.subplots(2, len(shown), sharex=True, squeeze=False, height_ratios=[2, 1])
    for target, (series_axes, error_axes) in zip(shown, grid.T, strict=True):
        series_axes.plot(targets[:, target], color=GRAY, linewidth=2.5, alpha=0.7, label="measured")
        series_axes.plot(outputs[:, target, middle], "--", color=RED, label="forecast")
        if len(levels) > 1:
            band = f"{levels[0]:g} to {levels[-1]:g} quantile"
            steps = range(len(outputs))
            series_axes.fill_between(
                steps, outputs[:, target, 0], outputs[:, target, -1], color=RED, alpha=0.2, linewidth=0, label=band
            )
        errors = outputs[:, target, middle] - targets[:, target]
        error_axes.axhline(0, color=GRAY, linewidth=1)
        error_axes.plot(errors, color=BLUE, linewidth=1, label="forecast - measured")
        error_axes.set_xlabel("step of the test period")
    grid[1, 0].set_ylabel("error")
    if names is None:
        name_columns(grid, targets)
    elif count > 1:
        for target, axes in zip(shown, grid[0], strict=True):
            axes.set_title(names[target], fontsize="small", parse_math=False)
    add_legend(figure)


def draw_scatter(figure: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Answers against targets (batch, targets); right ones lie on the diagonal."""
    grid = figure.subplots(1, columns_of(targets), squeeze=False)
    for target, axes in enumerate(grid[0]):
        both = np.concatenate([targets[:, target], outputs[:, target]])
        ends = [both.min(), both.max()]
        axes.plot(ends, ends, color=GRAY, linestyle="--", label="target = answer")
        axes.scatter(targets[:, target], outputs[:, target], s=10, alpha=0.6, color=BLUE, label="test sequence")
        axes.set(xlabel="target", ylabel="answer" if target == 0 else "", aspect="equal")
    name_columns(grid, targets)
    add_legend(figure)


def columns_of(targets: np.ndarray) -> int:
    return min(targets.shape[-1], SHOWN)


def name_columns(grid: np.ndarray, targets: np.ndarray) -> None:
    """Number the columns, as in `target 2 of 6`, if there are several targets."""
    count = targets.shape[-1]
    for target, axes in enumerate(grid[0]):
        if count > 1:
            axes.set_title(f"target {target + 1} of {count}", fontsize="small")
