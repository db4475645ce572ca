"""The page of one run."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels import __version__
from seqmodels.lens import Lens
from seqmodels.report import lens as lens_pictures
from seqmodels.report.curves import draw_by_length, draw_losses, draw_scores
from seqmodels.report.page.parts import ROWS, Plots, Section, grid_of
from seqmodels.report.page.render import render, shown
from seqmodels.report.place import is_logarithmic, place_of, scale_of
from seqmodels.report.predictions import fill
from seqmodels.report.sheet import BLUE, GRAY, add_legend
from seqmodels.report.tables import significant, span
from seqmodels.report.verdict import verdict_of
from seqmodels.tasks import Task
from seqmodels.tasks.task import IGNORED
from seqmodels.untrusted.reading import printable


@dataclass
class RunContent:
    """What the page of a run shows. Parts that are None or empty are left out, and `notes` says why."""

    name: str
    """The folder as it was typed; the title if there is neither a result nor a config."""
    result: dict[str, Any] = field(default_factory=dict)
    """The entries of result.json that have the types that a run writes."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Those of config.yaml, by their dotted names."""
    command: str | None = None
    metrics: pd.DataFrame | None = None
    """Of metrics.csv, thinned out."""
    predictions: tuple[Task, Tensor, Tensor] | None = None
    """The task, the model's answers to test sequences, and the targets."""
    lens: Lens | None = None
    recurrent: bool = True
    """Whether the layer carries a hidden state."""
    files: list[tuple[str, int]] = field(default_factory=list)
    """The names of the files in the folder, and their sizes in bytes."""
    notes: list[str] = field(default_factory=list)
    finished: bool = False
    """Whether there is a result.json, even one that cannot be read."""


def run_page(content: RunContent) -> str:
    """The page as HTML."""
    plots = Plots()
    result = content.result
    sections = [
        tables(result, "report", "Data", "What was read before training."),
        training(content, plots),
        predictions(content, plots),
        tables(result, "details", "The test in detail", ""),
        lengths(content, plots),
        inside(content, plots),
        parity(result),
        environment_of(result),
    ]
    names = [printable(result.get(name) or content.settings.get(f"{name}_name") or "") for name in ("model", "task")]
    title = " on ".join(filter(None, names)) or printable(content.name)
    settings = grid_of("config.yaml", ["setting", "value"], list(map(written, content.settings.items())), set())
    return render(
        "run.html",
        version=__version__,
        title=title,
        verdict=headline_of(result, content.finished),
        claim=printable(result["claim"]) if result.get("claim") else None,
        scale=ruler_of(result),
        facts=facts_of(result, content.settings),
        command=content.command,
        sections=[section for section in sections if section is not None],
        settings=settings if content.settings else None,
        files=[file_of(*file) for file in content.files],
        notes=[printable(note) for note in content.notes + plots.notes],
    )


def headline_of(result: dict[str, Any], finished: bool = True) -> dict[str, str]:
    """The verdict in a word or two, and a sentence that explains it."""
    if result.get("solved") is None:
        more = "Its result.json cannot be read, or is damaged." if finished else "The run has not finished."
        return {"word": "No result", "kind": "", "more": more}
    if result.get("diverged_at") is not None:
        more = f"A loss or a gradient was not finite at step {shown(result['diverged_at'])}."
        return {"word": "Diverged", "kind": "bad", "more": more}
    if result.get("solved"):
        return {"word": "Solved", "kind": "good", "more": ""}
    return {"word": "Not solved", "kind": "bad", "more": how_far(result)}


def how_far(result: dict[str, Any]) -> str:
    """A sentence that says how far the test is on the way from chance to solved."""
    test, chance, solved_at, metric = (result.get(name) for name in ("test", "chance", "solved_at", "metric"))
    if test is None or chance is None or solved_at is None or metric is None:
        return ""
    if (result.get("verdict") or verdict_of({"solved": False} | result)) == "chance":
        better = test > chance if solved_at > chance else test < chance
        return f"It is {'hardly' if better else 'no'} better than chance."
    share = math.floor(100 * place_of(test, chance, solved_at, metric))
    return f"It is {min(share, 99)} % of the way from chance to solved."


def ruler_of(result: dict[str, Any]) -> dict[str, Any] | None:
    """The scale from worse to better with the scores of the run, in percent of its width."""
    scores: list[tuple[str, str, str, Any]] = [("chance", "chance", "bar", result.get("chance"))]
    scores += [(printable(name, 40), "baseline", "bar", value) for name, value in result.get("baselines", {}).items()]
    scores += [("solved", "solved", "bar", result.get("solved_at"))]
    scores += [
        ("test", "test", "dot", result.get("test")),
        ("validation", "validation", "ring", result.get("validation")),
    ]
    known = [score for score in scores if score[3] is not None]
    if len(known) < 2 or result.get("chance") is None:
        return None
    metric, values = result.get("metric", ""), [value for *_, value in known]
    place = scale_of(metric, values)
    places = list(map(place, values))
    low, high = min(places), max(places)
    margin = 0.08 * (high - low or 1)

    def percent(value: float) -> float:
        return round(100 * (place(value) - low + margin) / (high - low + 2 * margin), 2)

    marks = [
        {"name": name, "kind": kind, "shape": shape, "place": percent(value), "value": significant(value)}
        for name, kind, shape, value in known
    ]
    unit = printable(metric, 40) + (", logarithmic" if is_logarithmic(metric, values) else "")
    goal = result.get("solved_at")
    return {"marks": marks, "unit": unit, "goal": None if goal is None else percent(goal)}


def facts_of(result: dict[str, Any], settings: dict[str, Any]) -> list[tuple[str, str]]:
    """The most important numbers."""
    facts = [
        (f"test {printable(result.get('metric', ''), 20)}", result.get("test")),
        ("validation", result.get("validation")),
        ("unseen", result.get("unseen")),
        ("seed", result.get("seed", settings.get("seed"))),
        ("parameters", result.get("parameters")),
        *([("trained parameters", result.get("trained_parameters"))] if result.get("frozen") else []),
        ("steps", result.get("steps")),
        ("best step", result.get("best_step")),
        ("seconds", result.get("seconds")),
    ]
    return [(name, shown(value)) for name, value in facts if value is not None]


def tables(result: dict[str, Any], name: str, title: str, text: str) -> Section | None:
    """The tables in an entry of the result."""
    grids = []
    for caption, rows in result.get(name, {}).items():
        head = list(rows[0]) if rows else []
        numbers = {place for place, column in enumerate(head) if not any(isinstance(row[column], str) for row in rows)}
        grids.append(grid_of(caption, head, [list(row.values()) for row in rows], numbers))
    return Section(title, text, [], grids) if grids else None


def training(content: RunContent, plots: Plots) -> Section | None:
    """Losses, and scores between chance and solved."""
    metrics, result = content.metrics, content.result
    if metrics is None or metrics.empty:
        return None

    def losses(figure: Figure) -> None:
        draw_losses(figure.subplots(), metrics)
        add_legend(figure, columns=2)

    def scores(figure: Figure) -> None:
        draw_scores(figure.subplots(), result, metrics)
        add_legend(figure, columns=1)

    drawn = plots.draw("Loss", "How far the answers are from the targets, during training.", losses)
    if all(
        result.get(name) is not None for name in ("metric", "test", "best_step", "chance", "solved_at", "baselines")
    ):
        text = "The checkpoint with the lowest validation loss is tested once. A model at chance has learned nothing."
        drawn += plots.draw("Score", text, scores, size=(4.6, 3.5))
    return Section("Training", "", drawn)


def predictions(content: RunContent, plots: Plots) -> Section | None:
    """The answers beside the targets, and how good they are at each position."""
    if content.predictions is None:
        return None
    task, outputs, targets = content.predictions
    wide = task.every_step or (task.chronological and targets.is_floating_point())
    if targets.is_floating_point():
        text = (
            "Answers are right where their line coincides with that of the targets."
            if wide
            else "Answers on the line are right."
        )
    elif task.every_step:
        text = "The targets of a few test sequences, with the model's answers below them."
    else:
        text = "Each row is a class, each column an answer: answers off the diagonal are wrong."
    drawn = plots.draw(
        "Answers", text, lambda figure: fill(figure, task, outputs, targets), wide, None if wide else (4.6, 2.9)
    )
    if task.every_step:
        name, rates, places = by_position(outputs, targets)
        text = f"The {name} at each scored step, over {len(targets)} test sequences."
        drawn += plots.draw("By position", text, partial(draw_positions, rates, places, name), True, (9.2, 2.4))
    return Section("Predictions", "The answers of the tested checkpoint to test sequences.", drawn)


def by_position(outputs: Tensor, targets: Tensor) -> tuple[str, np.ndarray, np.ndarray]:
    """Accuracy or squared error at each step where some target is scored: its name, the values and the steps."""
    if targets.is_floating_point():
        errors = ((outputs - targets) ** 2).mean(dim=-1).double().numpy()
        scored = ~np.isnan(errors)
    else:
        errors = (outputs.argmax(dim=-1) == targets).double().numpy()
        scored = targets.numpy() != IGNORED
    counts = scored.sum(axis=0)
    steps = np.flatnonzero(counts)
    name = "squared error" if targets.is_floating_point() else "accuracy"
    return name, np.where(scored, errors, 0).sum(axis=0)[steps] / counts[steps], steps


def draw_positions(rates: np.ndarray, steps: np.ndarray, name: str, figure: Figure) -> None:
    axes = figure.subplots()
    axes.plot(steps, rates, color=BLUE, marker="." if len(steps) < 60 else "", linewidth=1.3)
    axes.set(xlabel="step", ylabel=name)
    if name == "accuracy":
        axes.set_ylim(-0.03, 1.03)
        axes.axhline(1, color=GRAY, linewidth=0.7, linestyle=":")
    axes.margins(x=0.01)


def lengths(content: RunContent, plots: Plots) -> Section | None:
    """The test at each length."""
    result = content.result
    rows = result.get("lengths") or []
    if not rows or result.get("test") is None or result.get("trained_lengths") is None:
        return None

    def draw(figure: Figure) -> None:
        draw_by_length(figure.subplots(), result | {"lengths": rows[:ROWS]})
        add_legend(figure, columns=1)

    text = "Lengths outside the shaded range are unseen: they show whether the rule was learned."
    drawn = plots.draw("Score by length", text, draw, size=(4.6, 3.5)) if len(rows) > 1 else []
    cells = [[row["length"], row["test"], row["chance"], "unseen" if row["unseen"] else ""] for row in rows]
    caption = f"Trained at length {span(*result['trained_lengths'])}."
    head = ["length", f"test {printable(result.get('metric', ''), 40)}", "chance", ""]
    return Section("Lengths", "", drawn, [grid_of(caption, head, cells, {1, 2})])


def inside(content: RunContent, plots: Plots) -> Section | None:
    """The lens."""
    lens = content.lens
    if lens is None:
        return None
    states = "hidden states" if content.recurrent else "outputs of the last layer"
    count, steps = lens.components.places.shape[:2]
    text = f"Measurements inside the model while it reads {count} test sequences of {steps} steps."
    known = f"The {states} at all steps, coloured by {lens.known.text}."
    known += " Where the colours form separate groups, the model tells these values apart."
    drawn = plots.draw(
        "Hidden states" if content.recurrent else "Outputs of the last layer",
        "Each row is a unit, each column a step. Long stripes are memory; quick changes follow the input.",
        partial(lens_pictures.draw_states, lens=lens),
        True,
        (9.2, 3.0),
    )
    drawn += plots.draw(
        "Principal components", known, partial(lens_pictures.draw_components, lens=lens), size=(4.6, 3.7)
    )
    drawn += plots.draw(
        "Gradient over distance in time",
        "How much an input this far back still changes the answer. A straight line downwards is a vanishing gradient, "
        "a line upwards an exploding one. The line is the median over the sequences; the band contains 80 % of them.",
        partial(lens_pictures.draw_gradients, lens=lens),
    )
    if lens.spectra:
        left_out = len(lens.spectra) - lens_pictures.PANELS
        rows = math.ceil(min(len(lens.spectra), lens_pictures.PANELS) / 2)
        drawn += plots.draw(
            "Eigenvalues of the recurrent weights",
            "For eigenvalues on the circle, the state keeps its size; inside it, the state decays; outside, it grows, "
            "as long as no unit saturates." + (f" Matrices not shown: {left_out}." if left_out > 0 else ""),
            partial(lens_pictures.draw_eigenvalues, lens=lens),
            size=(4.6, 3.6 if len(lens.spectra) == 1 else 1 + 2 * rows),
        )
    if lens.saturation:
        drawn += plots.draw(
            "Saturated units",
            "Blue: within 0.05 of the lower end of the range (a closed gate, -1 for tanh, 0 for a rectifier). Orange: "
            "within 0.05 of the upper end (an open gate, 1 for tanh). Saturated units pass hardly any gradient.",
            partial(lens_pictures.draw_saturation, lens=lens),
            size=(4.6, 1.3 + 0.26 * min(len(lens.saturation), 16)),
        )
    return Section("The lens", text, drawn)


def parity(result: dict[str, Any]) -> Section | None:
    """The layer against its reference, before training."""
    report = result.get("parity")
    if isinstance(report, str) and report:
        words = {"off": "The comparison was switched off.", "no reference": "The layer has no reference."}
        return Section("Parity", words.get(report, printable(report)))
    if not isinstance(report, dict):
        return None
    text = (
        f"{printable(report['layer'])} is compared with {printable(report['reference'])} in float64 before training. "
        f"The largest relative error is {shown(report['worst'], 2)}; up to {shown(report['tolerance'], 2)} is allowed."
    )
    rows = [
        [row["tensor"], shown(row["absolute"], 2), shown(row["relative"], 2), row["note"]]
        for row in report["deviations"]
    ]
    head = ["tensor", "largest error", "relative", ""]
    return Section("Parity", text, [], [grid_of("The largest errors of each tensor.", head, rows, {1, 2})])


def environment_of(result: dict[str, Any]) -> Section | None:
    """Speed, versions, threads and commit."""
    speed = result.get("steps_per_second")
    rows = [
        ("steps per second", None if speed is None else f"{speed:.0f}" if speed >= 10 else significant(speed, 2)),
        ("threads", result.get("threads")),
        ("processes", result.get("processes")),
        ("finished", result.get("finished")),
        *result.get("versions", {}).items(),
        ("commit", result.get("git")),
    ]
    known = [row for row in rows if row[1] is not None]
    grid = grid_of("The speed, the versions and the commit of the run.", [], known, set())
    return Section("Speed and environment", "", [], [grid]) if known else None


def written(item: tuple[str, Any]) -> tuple[str, str]:
    """A setting, with its value as in YAML."""
    name, value = item
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return printable(name), printable(text)


def file_of(name: str, size: int) -> dict[str, str]:
    """A file of the folder, with its link and its size."""
    unit = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB" if size >= 1e3 else f"{size} B"
    return {"name": printable(name), "link": "./" + quote(name), "size": unit}
