"""Pictures of a comparison: a heat map, points with intervals, learning curves, and scores against length.

They are drawn from the tables of a comparison (`seqmodels.experiments.comparisons.comparison.Comparison`). A group
keeps its colour and line through all of them.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from seqmodels.report.curves import fit_range
from seqmodels.report.sheet import BLUE, GRAY, GREEN, ORANGE, PURPLE, RED, SKY, add_legend

STYLES = [
    {"color": color, "linestyle": line}
    for line, color in itertools.product(("-", "--", ":"), (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "black"))
]
"""The styles of the groups, in order; colour-blind readers can tell the colours apart."""

ACROSS = 3
"""Panels side by side."""


def pictures(
    runs: pd.DataFrame, groups: pd.DataFrame, curves: pd.DataFrame, lengths: pd.DataFrame, pooled: bool, score: str
) -> dict[str, Figure]:
    """The pictures by their names: heatmap, intervals and, where there is something to draw, curves and lengths."""
    labels = list(dict.fromkeys(groups["label"]))
    styles = dict(zip(labels, itertools.cycle(STYLES), strict=False))
    drawn = {
        "heatmap": draw_heatmap(runs, labels, score),
        "intervals": draw_intervals(runs, groups, styles, pooled, score),
    }
    if len(curves):
        drawn["curves"] = draw_curves(curves, runs, styles)
    if len(lengths):
        drawn["lengths"] = draw_lengths(lengths, styles)
    return drawn


def draw_heatmap(runs: pd.DataFrame, labels: list[str], score: str) -> Figure:
    """The mean place of each group on each task, between chance (0) and solved (1)."""
    seeds = runs.groupby(["label", "task", "seed"])["place"].mean()
    places = seeds.groupby(["label", "task"]).mean().unstack("task").reindex(labels)
    diverged = runs[runs["diverged"].astype(bool)].groupby(["label", "task"]).size().unstack("task")
    marked = diverged.reindex(labels).reindex(columns=places.columns).notna().to_numpy()
    height, width = places.shape
    longest = max(map(len, labels))
    figure = Figure(
        figsize=(2 + 0.1 * longest + 0.75 * max(width, 3), 2.2 + 0.32 * height), dpi=120, layout="constrained"
    )
    figure.suptitle(f"{score}: place between chance and solved, mean over seeds", fontsize="medium", parse_math=False)
    axes: Axes = figure.subplots()
    colours = LinearSegmentedColormap.from_list("place", ["white", BLUE]).with_extremes(bad="#DDDDDD")
    image = axes.imshow(places.to_numpy(float), cmap=colours, vmin=0, vmax=1, aspect="auto")
    for (row, column), place in np.ndenumerate(places.to_numpy(float)):
        text = "" if math.isnan(place) else f"{place:.2f}{'*' if marked[row, column] else ''}"
        colour = "white" if place > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
    axes.set_xticks(
        range(width), list(places.columns), rotation=30, ha="right", rotation_mode="anchor", parse_math=False
    )
    axes.set_yticks(range(height), labels, parse_math=False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, ticks=[0, 0.5, 1], pad=0.02)
    bar.ax.set_yticklabels(["chance", "halfway", "solved"])
    notes = ["* a run diverged"] if marked.any() else []
    notes += ["gray: no run"] if places.isna().to_numpy().any() else []
    axes.set_xlabel("; ".join(notes), fontsize="small")
    return figure


def draw_intervals(
    runs: pd.DataFrame, groups: pd.DataFrame, styles: dict[str, Any], pooled: bool, score: str
) -> Figure:
    """The mean of each group with its interval, and the runs as small marks; a panel for each task."""
    tasks = [""] if pooled else sorted(set(runs["task"]))
    over = "tasks and seeds" if pooled else "seeds"
    title = f"{score}: mean over {over} with 95 % interval; small marks: runs"
    figure, panels = sheet_of(len(tasks), 0.9 + 0.2 * len(styles), title, left=0.1 * max(map(len, styles)))
    for number, (axes, task) in enumerate(zip(panels, tasks, strict=True)):
        own = runs if pooled else runs[runs["task"] == task]
        rows = groups[groups["task"] == task] if "task" in groups else groups
        metric = own["metric"].iloc[0]
        for height, (label, style) in enumerate(styles.items()):
            seeds = own.loc[own["label"] == label, "place" if pooled else "score"]
            axes.plot(seeds, np.full(len(seeds), height + 0.28), "|", color=style["color"], alpha=0.7, markersize=4)
            for mean, low, high in rows.loc[rows["label"] == label, ["mean", "low", "high"]].to_numpy(float):
                axes.plot([low, high], [height, height], color=style["color"], linewidth=1.5)
                axes.plot(mean, height, "o", color=style["color"], markersize=5)
        ends = {"chance": (0.0, GRAY), "solved": (1.0, GREEN)}
        if not pooled:
            ends = {"chance": (own["chance"].mean(), GRAY), "solved": (own["solved_at"].mean(), GREEN)}
        for name, (value, colour) in ends.items():
            if math.isfinite(value):
                axes.axvline(value, color=colour, linestyle="--", linewidth=1, zorder=0, label=name)
        values = [*([] if pooled else own["score"]), *(value for value, _ in ends.values() if math.isfinite(value))]
        if not pooled and metric != "accuracy" and min(values) > 0 and max(values) > 5 * min(values):
            axes.set_xscale("log")
            name_decades(axes.xaxis, axes.get_xlim())
        named = number % min(ACROSS, len(tasks)) == 0
        axes.set_yticks(range(len(styles)), list(styles) if named else [""] * len(styles), parse_math=False)
        axes.set_ylim(len(styles) - 0.5, -0.5)
        axes.grid(axis="y", color="#EEEEEE")
        axes.set_axisbelow(True)
        axes.set_xlabel("place between chance and solved" if pooled else metric, fontsize="small", parse_math=False)
        axes.set_title(task, fontsize="small", parse_math=False)
        axes.tick_params(labelsize="small")
    add_legend(figure)
    return figure


def draw_curves(curves: pd.DataFrame, runs: pd.DataFrame, styles: dict[str, Any]) -> Figure:
    """The validation metric over the steps: the mean over the seeds, with a band."""
    tasks = sorted(set(curves["task"]))
    title = f"validation: mean over seeds, with a band over {spread_of(styles)[1]}"
    figure, panels = sheet_of(len(tasks), 2.4, title, entries=[*styles, "chance", "solved", "trained"])
    for axes, task in zip(panels, tasks, strict=True):
        own, of_task = curves[curves["task"] == task], runs[runs["task"] == task]
        draw_bands(axes, own, "step", styles)
        finish(axes, task, own, of_task["chance"].dropna(), of_task["solved_at"].dropna())
        axes.set_xlabel("step", fontsize="small")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    add_groups(figure, styles)
    return figure


def draw_lengths(lengths: pd.DataFrame, styles: dict[str, Any]) -> Figure:
    """The test metric against the length: the mean over the seeds, with a band."""
    tasks = sorted(set(lengths["task"]))
    title = f"test by length: mean over seeds, with a band over {spread_of(styles)[1]}"
    figure, panels = sheet_of(len(tasks), 2.4, title, entries=[*styles, "chance", "solved", "trained"])
    for axes, task in zip(panels, tasks, strict=True):
        own = lengths[lengths["task"] == task]
        draw_bands(axes, own, "length", styles, marker=".")
        finish(axes, task, own, own.groupby("length")["chance"].mean(), own["solved_at"].dropna())
        seen = own.loc[~own["unseen"].astype(bool), "length"]
        if len(seen):
            axes.axvspan(seen.min() - 0.5, seen.max() + 0.5, color=GRAY, alpha=0.15, linewidth=0, label="trained")
        ticks = sorted(set(own["length"]))
        if ticks[-1] >= 8 * ticks[0] > 0:
            axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("length", fontsize="small")
    add_groups(figure, styles)
    return figure


def sheet_of(
    count: int, height: float, title: str, left: float = 0, entries: Sequence[str] = ("chance", "solved")
) -> tuple[Figure, list[Axes]]:
    """A figure with this many panels, three in a row, and room on the left and for the legend; sizes are in inches."""
    across = min(ACROSS, count)
    down = math.ceil(count / across)
    width = max(6, 3.4 * across, 1 + 0.12 * max(map(len, entries))) + left
    below = 0.2 * math.ceil(len(entries) / legend_columns(width, entries))
    figure = Figure(figsize=(width, 1 + below + height * down), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize="medium", parse_math=False)
    panels = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in panels[count:]:
        unused.remove()
    return figure, panels[:count]


def legend_columns(width: float, entries: Iterable[str]) -> int:
    """How many columns of a legend fit into this width in inches."""
    return max(1, min(5, int(width * 11 / (max(map(len, entries)) + 6))))


def draw_bands(axes: Axes, values: pd.DataFrame, over: str, styles: dict[str, Any], marker: str = "") -> None:
    """The mean over the seeds of each group with a band, where at least half of its seeds have a value."""
    low, high = spread_of(styles)[0]
    for label, style in styles.items():
        own = values[values["label"] == label].groupby(over)["value"]
        kept = 2 * own.count() >= own.count().max()
        mean = own.mean()[kept]
        places = mean.index.to_numpy(float)
        axes.plot(places, mean, label=label, linewidth=1.3, marker=marker, **style)
        bottom, top = own.quantile(low)[kept], own.quantile(high)[kept]
        if (top > bottom).any():
            axes.fill_between(
                places, bottom, top, color=style["color"], alpha=0.15 if len(styles) <= 4 else 0.1, linewidth=0
            )


def spread_of(styles: dict[str, Any]) -> tuple[tuple[float, float], str]:
    """Which quantiles of the seeds a band shows, and in words: all, or the middle half where many bands overlap."""
    return ((0.0, 1.0), "all of them") if len(styles) <= 4 else ((0.25, 0.75), "the middle half of them")


def finish(axes: Axes, task: str, values: pd.DataFrame, chance: pd.Series, solved_at: pd.Series) -> None:
    """Add the lines for chance (by length, if that is its index) and solved, the range of scores, and the labels."""
    metric = values["metric"].iloc[0]
    solved = [float(solved_at.mean())] if len(solved_at) else []
    fit_range(axes, values["value"].to_numpy(float), [*chance, *solved], bounded=metric == "accuracy")
    if chance.index.name == "length":
        axes.plot(chance.index.to_numpy(float), chance, "--", color=GRAY, linewidth=1, zorder=0, label="chance")
    elif len(chance):
        axes.axhline(chance.mean(), color=GRAY, linestyle="--", linewidth=1, zorder=0, label="chance")
    for value in solved:
        axes.axhline(value, color=GREEN, linestyle="--", linewidth=1, zorder=0, label="solved")
    if axes.get_yscale() == "log":
        name_decades(axes.yaxis, axes.get_ylim())
    axes.set_title(task, fontsize="small", parse_math=False)
    axes.set_ylabel(metric, fontsize="small", parse_math=False)
    axes.tick_params(labelsize="small")


def name_decades(axis: Axis, ends: tuple[float, float]) -> None:
    """Label up to five round numbers on a logarithmic axis: powers of ten and, if there is room, multiples of them."""
    powers = range(math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1])) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [factor * 10.0**power for power in powers for factor in factors]
        ticks = [tick for tick in ticks if ends[0] <= tick <= ends[1]]
        if len(ticks) <= 5:
            break
    ticks = ticks[:: math.ceil(len(ticks) / 5)] if ticks else list(ends)
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


def add_groups(figure: Figure, styles: dict[str, Any]) -> None:
    """One legend below all panels, with the groups in their order."""
    add_legend(
        figure,
        legend_columns(figure.get_figwidth(), styles),
        [Line2D([], [], label=label, **style) for label, style in styles.items()],
    )
