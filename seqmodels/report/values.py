"""Pictures of answers that are numbers: signals, forecasts and single numbers."""

import numpy as np
from matplotlib.figure import Figure

from seqmodels.report.sheet import BLUE, GRAY, RED, add_legend, blank_entry

SHOWN = 4
"""The most numbers of an answer that are drawn, each in a column of its own."""


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


def draw_series(figure: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """A measured series (time, targets) over the test period with its forecasts, and below them their errors."""
    grid = figure.subplots(2, columns_of(targets), sharex=True, squeeze=False, height_ratios=[2, 1])
    for target, (series_axes, error_axes) in enumerate(grid.T):
        series_axes.plot(targets[:, target], color=GRAY, linewidth=2.5, alpha=0.7, label="measured")
        series_axes.plot(outputs[:, target], "--", color=RED, label="forecast, one step ahead")
        error_axes.axhline(0, color=GRAY, linewidth=1)
        error_axes.plot(outputs[:, target] - targets[:, target], color=BLUE, linewidth=1, label="forecast - measured")
        error_axes.set_xlabel("step of the test period")
    grid[1, 0].set_ylabel("error")
    name_columns(grid, targets)
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
