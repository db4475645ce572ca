"""Pictures of scores between chance and solved: over the steps of training, and over the lengths of the test."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from seqmodels.report.folder import write_picture
from seqmodels.report.sheet import BLUE, GRAY, GREEN, ORANGE, PURPLE, RED, SKY, add_legend, sheet, title_of
from seqmodels.report.tables import significant, span

FAR = 8
"""A line that would make an axis more than this many times as long is left out, and the legend says so."""


def plot_curves(result: dict[str, Any], folder: Path) -> None:
    """Draw the training of a run, from its result and its metrics.csv, into curves.png."""
    write_picture(draw_curves(result, pd.read_csv(folder / "metrics.csv")), folder / "curves.png")


def plot_lengths(result: dict[str, Any], folder: Path) -> None:
    """Draw the test at each length into lengths.png."""
    write_picture(draw_lengths(result), folder / "lengths.png")


def draw_curves(result: dict[str, Any], metrics: pd.DataFrame) -> Figure:
    """The losses over the steps; beside them the metric on validation, and on the test at the checkpoint tested."""
    figure = sheet(title_of(result))
    loss_axes, score_axes = figure.subplots(1, 2)
    draw_losses(loss_axes, metrics)
    draw_scores(score_axes, result, metrics)
    add_legend(figure, columns=3)
    return figure


def draw_losses(axes: Axes, metrics: pd.DataFrame) -> None:
    """The losses over the steps."""
    losses = []
    for name, label, color in [("train_loss", "training", BLUE), ("val_loss", "validation", ORANGE)]:
        losses.append(draw_curve(axes, metrics, name, label, color))
    fit_range(axes, np.concatenate(losses))
    axes.set(xlabel="step", ylabel="loss")
    number_steps(axes)


def draw_scores(axes: Axes, result: dict[str, Any], metrics: pd.DataFrame) -> None:
    """The metric on validation over the steps, and on the test at the checkpoint tested."""
    scores = draw_curve(axes, metrics, f"val_{result['metric']}", "validation", ORANGE)
    label = f"test {significant(result['test'])}, with the checkpoint of step {result['best_step']}"
    axes.plot(result["best_step"], result["test"], "*", color=RED, markersize=12, zorder=3, label=label)
    lines = reference_lines(result)
    needed = [*scores, result["test"], result["solved_at"]]
    fit_range(axes, needed, lines.values(), bounded=result["metric"] == "accuracy")
    styles = [(GRAY, "--"), (PURPLE, ":"), (SKY, "-."), (BLUE, (0, (1, 4)))]
    for position, (name, value) in enumerate(lines.items()):
        color, style = (GREEN, "--") if name.startswith("solved") else styles[position % len(styles)]
        label = f"{name} in the test {significant(value)}{outside(axes, [value])}"
        axes.axhline(value, color=color, linestyle=style, zorder=1, label=label)
    axes.set(xlabel="step", ylabel=result["metric"])
    number_steps(axes)


def number_steps(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def draw_curve(axes: Axes, metrics: pd.DataFrame, name: str, label: str, color: str) -> np.ndarray:
    """Draw a column of metrics.csv, if it exists, over the steps done; returns its values."""
    if name not in metrics:
        return np.array([])
    curve = metrics[["step", name]].dropna()
    values = curve[name].to_numpy()
    # The logger counts steps from 0, checkpoints count the steps done.
    axes.plot(curve["step"] + 1, values, label=label, color=color, marker="." if len(curve) < 30 else "")
    return values


def reference_lines(result: dict[str, Any]) -> dict[str, float]:
    """Chance, the baselines and the score that counts as solved, by name; a baseline that equals it shares its line."""
    baselines, solved_at = result["baselines"], result["solved_at"]
    lines = {"chance": result["chance"]} | {name: value for name, value in baselines.items() if value != solved_at}
    return lines | {" = ".join(["solved", *(name for name in baselines if name not in lines)]): solved_at}


def fit_range(axes: Axes, needed: Iterable[float], lines: Iterable[float] = (), bounded: bool = False) -> None:
    """Set the y axis to hold all needed values, and those lines that do not squash it.

    The axis is logarithmic where it spans a factor of five, unless the metric is bounded.
    """
    values, others = ([value for value in part if math.isfinite(value)] for part in (needed, lines))
    if not values:
        return
    logarithmic = not bounded and min(values + others) > 0
    low, high = (math.log10(end) if logarithmic else end for end in (min(values), max(values)))
    most = FAR * (high - low or 0.1)
    for line in others:
        place = math.log10(line) if logarithmic else line
        if max(high, place) - min(low, place) <= most:
            low, high = min(low, place), max(high, place)
    margin = 0.07 * (high - low or 0.1)
    low, high = low - margin, high + margin
    if logarithmic:
        low, high = 10**low, 10**high
    axes.set_yscale("log" if logarithmic and high > 5 * low else "linear")
    axes.set_ylim(low, high)


def outside(axes: Axes, values: Sequence[float]) -> str:
    """The legend's note on a line that lies, at least in part, beyond the y axis."""
    low, high = axes.get_ylim()
    if max(values) > high:
        return " (above)"
    return " (below)" if min(values) < low else ""


def draw_lengths(result: dict[str, Any]) -> Figure:
    """The metric against the length of the test, between chance and solved, with the lengths of training."""
    figure = sheet(title_of(result))
    draw_by_length(figure.subplots(), result)
    add_legend(figure)
    return figure


def draw_by_length(axes: Axes, result: dict[str, Any]) -> None:
    """The metric against the length of the test."""
    rows = sorted(result["lengths"], key=lambda row: row["length"])
    lengths, tests, chances = ([row[name] for row in rows] for name in ("length", "test", "chance"))
    shortest, longest = result["trained_lengths"]
    metric, mean, solved_at = result["metric"], result["test"], result["solved_at"]
    fit_range(axes, [*tests, solved_at], chances, bounded=metric == "accuracy")
    axes.axvspan(
        shortest - 0.5, longest + 0.5, color=GRAY, alpha=0.2, label=f"trained at length {span(shortest, longest)}"
    )
    axes.plot(lengths, tests, marker="o", color=RED, zorder=3, label=f"test, mean {significant(mean)}")
    note = outside(axes, chances)
    axes.plot(lengths, chances, "--", color=GRAY, label=f"chance, mean {significant(result['chance'])}{note}")
    axes.axhline(solved_at, linestyle="--", color=GREEN, label=f"solved at a mean of {significant(solved_at)}")
    axes.set(xlabel="length", ylabel=metric)
    name_lengths(axes, lengths, result["trained_lengths"])


def name_lengths(axes: Axes, lengths: list[int], trained: list[int]) -> None:
    """Name the tested lengths on the x axis, unless they are too close; logarithmic where they span a factor of 8."""
    logarithmic = lengths[-1] >= 8 * lengths[0]
    place = math.log if logarithmic else float
    ticks = lengths[:1]
    for length in lengths:
        if place(length) - place(ticks[-1]) > (place(lengths[-1]) - place(lengths[0])) / 20:
            ticks.append(length)
    if logarithmic:
        axes.set(xscale="log", xlim=(min(lengths[0], trained[1]) / 1.3, max(lengths[-1], trained[0]) * 1.1))
    axes.set_xticks(ticks, map(str, ticks))
    axes.xaxis.set_minor_locator(NullLocator())
