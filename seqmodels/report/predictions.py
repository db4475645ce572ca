"""Pictures of a model's answers to test sequences, beside the targets."""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from seqmodels.report import classes, values
from seqmodels.report.folder import write_picture
from seqmodels.report.sheet import sheet
from seqmodels.tasks import Task


def plot_predictions(task: Task, outputs: Tensor, targets: Tensor, folder: Path, title: str) -> None:
    """Draw outputs and targets of the test, of the shapes that `Task` states, into predictions.png."""
    write_picture(draw_predictions(task, outputs, targets, title), folder / "predictions.png")


def draw_predictions(task: Task, outputs: Tensor, targets: Tensor, title: str) -> Figure:
    """The picture that fits the kind of answer. Positions that are not scored stay blank."""
    figure = sheet(f"{title}: answers in the test")
    fill(figure, task, outputs, targets)
    return figure


def fill(figure: Figure, task: Task, outputs: Tensor, targets: Tensor) -> None:
    """Draw the picture into a figure."""
    if targets.is_floating_point():
        if task.every_step:
            outputs = outputs.masked_fill(targets.isnan(), torch.nan)
            values.draw_signals(figure, outputs.numpy(), targets.numpy())
        else:
            decoded = task.decode(outputs, "test").numpy(), task.decode(targets, "test").numpy()
            if task.chronological:
                values.draw_series(figure, *decoded, task.quantiles, task.names)
            else:
                values.draw_scatter(figure, *decoded)
        return
    count, answers, right = outputs.size(-1), outputs.argmax(-1).numpy(), targets.numpy()
    if not task.every_step:
        classes.draw_confusion(figure, answers, right, count, task.symbols)
    elif task.symbols is None:
        classes.draw_colors(figure, answers, right, count)
    else:
        classes.draw_symbols(figure, answers, right, task.symbols)
