"""What a run leaves behind: its config, its result, and its pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape
from rich.table import Table
from torch import Tensor

from seqmodels.config import UserError
from seqmodels.tasks import Task


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds a run."""
    if (folder / "config.yaml").exists():
        raise UserError(f"hydra.run.dir={folder} holds a run already: choose another folder")


def write_config(config: DictConfig, folder: Path) -> None:
    """The config the run was started with, without interpolations."""
    OmegaConf.save(config, folder / "config.yaml")


def write_result(result: dict[str, Any], folder: Path) -> None:
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n")


def result_table(result: dict[str, Any]) -> Table:
    """What a run scores, between what a guess and what a solution scores."""
    table = Table(title=escape(result["claim"]) if result["claim"] else None, show_header=False)
    rows = {
        "task": result["task"],
        "model": f"{result['model']} ({result['layer']}, {result['parameters']} parameters)",
        f"test {result['metric']}": figure(result["test"]),
        "chance": figure(result["chance"]),
        **{name: figure(value) for name, value in result["baselines"].items()},
        "verdict": "solved" if result["solved"] else "not solved",
        "time": f"{result['steps']} steps in {result['seconds']:.0f} s, {result['steps_per_second']:.0f} steps/s",
    }
    for name, value in rows.items():
        table.add_row(name, escape(value), style="bold green" if value == "solved" else None)
    return table


def lengths_table(result: dict[str, Any]) -> Table:
    """The score at each length of the test, beside that of a guess, and their means."""
    shortest, longest = result["trained_lengths"]
    table = Table(title=f"trained at length {span(shortest, longest)}")
    for name in ("length", f"test {result['metric']}", "chance", ""):
        table.add_column(name, justify="right")
    for row in result["lengths"]:
        note = "unseen" if row["unseen"] else ""
        table.add_row(str(row["length"]), figure(row["test"]), figure(row["chance"]), note)
    table.add_section()
    table.add_row("mean", figure(result["test"]), figure(result["chance"]))
    if result["unseen"] is not None:
        chances = [row["chance"] for row in result["lengths"] if row["unseen"]]
        table.add_row("mean of the unseen", figure(result["unseen"]), figure(sum(chances) / len(chances)))
    return table


def span(shortest: int, longest: int) -> str:
    return str(longest) if shortest == longest else f"{shortest} to {longest}"


def figure(value: float, digits: int = 4) -> str:
    return f"{value:.{digits}g}"


def plot_curves(task: Task, folder: Path) -> None:
    """Training loss, and the metric between the test's chance and solved, over steps: curves.png."""
    metrics = pd.read_csv(folder / "metrics.csv")
    picture = Figure(figsize=(9, 3.5), layout="constrained")
    loss_axes, metric_axes = picture.subplots(1, 2)
    for name, label in [("train_loss", "training"), ("val_loss", "validation")]:
        if name in metrics:
            curve = metrics[["step", name]].dropna()
            loss_axes.plot(curve["step"], curve[name], label=label, marker="." if len(curve) < 30 else "")
    loss_axes.set(xlabel="step", ylabel="loss", yscale="log")
    loss_axes.legend()

    curve = metrics[["step", f"val_{task.metric_name}"]].dropna()
    metric_axes.plot(curve["step"], curve[f"val_{task.metric_name}"], marker=".", color="C1", label="validation")
    lines = {"chance": task.chance} | {name: value for name, value in task.baselines.items() if value != task.solved_at}
    lines[" = ".join(["solved", *(name for name in task.baselines if name not in lines)])] = task.solved_at
    for number, (name, value) in enumerate(lines.items(), start=3):
        color = "gray" if name == "chance" else f"C{number}"
        metric_axes.axhline(value, linestyle="--", color=color, label=f"{name} in the test {figure(value)}")
    tested = metrics[["step", f"test_{task.metric_name}"]].dropna()
    step, score = tested.to_numpy()[-1]
    metric_axes.plot(step, score, "*", color="C3", markersize=12, label=f"test {figure(score)}")
    metric_axes.set(xlabel="step", ylabel=task.metric_name)
    if task.metric_name != "accuracy":
        metric_axes.set_yscale("log")
    metric_axes.legend()
    picture.savefig(folder / "curves.png", dpi=120)


def plot_lengths(result: dict[str, Any], folder: Path) -> None:
    """The metric against the length of the test, between chance and solved, with what training had: lengths.png."""
    picture = Figure(figsize=(6, 3.5), layout="constrained")
    axes: Axes = picture.subplots()
    rows = sorted(result["lengths"], key=lambda row: row["length"])
    lengths = [row["length"] for row in rows]
    shortest, longest = result["trained_lengths"]
    axes.axvspan(shortest - 0.5, longest + 0.5, color="gray", alpha=0.15, label=f"trained, {span(shortest, longest)}")
    axes.plot(
        lengths, [row["test"] for row in rows], marker="o", color="C3", label=f"test, mean {figure(result['test'])}"
    )
    axes.plot(
        lengths, [row["chance"] for row in rows], "--", color="gray", label=f"chance, mean {figure(result['chance'])}"
    )
    axes.axhline(
        result["solved_at"], linestyle="--", color="C2", label=f"solved from a mean of {figure(result['solved_at'])}"
    )
    axes.set(xlabel="length", ylabel=result["metric"], title=f"{result['model']} on {result['task']}")
    if result["metric"] != "accuracy":
        axes.set_yscale("log")
    axes.legend()
    picture.savefig(folder / "lengths.png", dpi=120)


def plot_predictions(task: Task, outputs: Tensor, targets: Tensor, folder: Path) -> None:
    """The model's answers to test sequences beside the right ones: predictions.png."""
    picture = Figure(figsize=(9, 3.5), layout="constrained")
    if not targets.is_floating_point():
        draw = draw_tokens if task.every_step else draw_confusion
    elif task.every_step:
        draw = draw_signals
    else:
        outputs, targets = task.decode(outputs, "test"), task.decode(targets, "test")
        draw = draw_series if task.chronological else draw_scatter
    draw(picture, outputs.numpy(), targets.numpy())
    picture.savefig(folder / "predictions.png", dpi=120)


def draw_confusion(picture: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """How often each class (row) is answered with each class (column)."""
    classes = outputs.shape[-1]
    counts = np.zeros((classes, classes), dtype=int)
    np.add.at(counts, (targets, outputs.argmax(-1)), 1)
    axes: Axes = picture.subplots()
    axes.imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, str(count), ha="center", va="center", color="w" if count > counts.max() / 2 else "k")
    axes.set(xlabel="answer", ylabel="target", xticks=range(classes), yticks=range(classes))


def draw_tokens(picture: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Targets and answers of a few sequences as rows of colours, and where they differ."""
    shown = slice(0, 12)
    answers = outputs.argmax(-1)[shown]
    panels = {"targets": targets[shown], "answers": answers, "wrong": answers != targets[shown]}
    for axes, (title, panel) in zip(picture.subplots(3, 1, sharex=True), panels.items(), strict=True):
        axes.imshow(
            panel, aspect="auto", interpolation="nearest", cmap="Reds" if title == "wrong" else "viridis",
            vmin=0, vmax=1 if title == "wrong" else outputs.shape[-1] - 1,
        )  # fmt: skip
        axes.set(ylabel=title, yticks=[])
    axes.set_xlabel("step")


def draw_signals(picture: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Targets and answers of three sequences over time."""
    for number, axes in enumerate(picture.subplots(3, 1, sharex=True)):
        if number < len(targets):
            axes.plot(targets[number, :, 0], color="gray", label="target")
            axes.plot(np.where(np.isnan(targets), np.nan, outputs)[number, :, 0], "--", color="C1", label="answer")
    axes.set_xlabel("step")
    axes.legend(loc="lower left")


def draw_series(picture: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """A measured series over the test period, and the forecast of each value from those before it."""
    axes: Axes = picture.subplots()
    axes.plot(targets[:, 0], color="gray", label="measured")
    axes.plot(outputs[:, 0], "--", color="C1", label="forecast, one step ahead")
    axes.set_xlabel("step of the test period")
    axes.legend()


def draw_scatter(picture: Figure, outputs: np.ndarray, targets: np.ndarray) -> None:
    """Answers against targets; a perfect solver's lie on the diagonal."""
    axes: Axes = picture.subplots()
    axes.scatter(targets[:, 0], outputs[:, 0], s=8, alpha=0.6)
    axes.axline((float(targets.mean()),) * 2, slope=1, color="gray", linestyle="--")
    axes.set(xlabel="target", ylabel="answer")
