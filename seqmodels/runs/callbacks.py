"""Adjustments to Lightning's trainer: progress in one line, or in plain lines for a file; fewer messages."""

import logging
import shutil
import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor
from tqdm import tqdm

from seqmodels.report.tables import rounded, significant
from seqmodels.report.verdict import chance_in_validation
from seqmodels.tasks import Task


class Progress(Callback):
    """What a run shows while it trains: steps per second, time left, training loss, and the validation score between
    chance and solved."""

    def __init__(self, window: int) -> None:
        self.loss: Tensor | None = None
        self.task: Task | None = None
        self.chance = 0.0
        self.scores: dict[str, str] = {}
        """The scores of the last validation, as text."""
        self.marks: deque[tuple[float, int]] = deque(maxlen=window)
        """The times and steps at which `values` was last called; the rate is the mean from the first to the last."""

    def setup(self, trainer: pl.Trainer, learner: Any, stage: str) -> None:
        if stage == "fit":
            self.task = learner.task
            self.chance = chance_in_validation(learner.task)

    def on_train_start(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        self.marks.append((time.monotonic(), trainer.global_step))

    def on_train_batch_end(self, trainer: pl.Trainer, learner: pl.LightningModule, outputs: Any, *rest: Any) -> None:
        self.loss = outputs["loss"]

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        assert self.task is not None
        # Lightning computes `callback_metrics` anew whenever it is asked for them.
        scores = {name: significant(value.item()) for name, value in trainer.callback_metrics.items()}
        self.scores = {
            "val_loss": scores["val_loss"],
            "score": scores[f"val_{self.task.metric_name}"],
            "scale": f"(chance {significant(self.chance)}, solved {significant(self.task.solved_at)})",
        }

    def values(self, trainer: pl.Trainer) -> dict[str, str]:
        """The numbers to show, as text; those that are not known yet are left out."""
        assert self.task is not None
        step = trainer.global_step
        self.marks.append((time.monotonic(), step))
        (before, first), (now, _) = self.marks[0], self.marks[-1]
        values = {"step": str(step), "steps": str(trainer.max_steps), "metric": self.task.metric_name}
        if now > before and step > first:
            rate = (step - first) / (now - before)
            values |= {"rate": rounded(rate), "left": tqdm.format_interval((trainer.max_steps - step) / rate)}
        if self.loss is not None:
            # Lightning has divided the loss by the number of batches that make a step.
            values["loss"] = significant(self.loss.item() * trainer.accumulate_grad_batches)
        return values | self.scores


class StepsBar(Progress):
    """The progress for a terminal: a bar in one line, with as much beside it as fits."""

    SECONDS = 0.5
    """The shortest time between two updates."""

    FORMS = (
        ["{step}/{steps}", "{rate} steps/s", "{left} left", "train_loss {loss}", "val_{metric} {score} {scale}"],
        ["{rate} steps/s", "{left} left", "loss {loss}", "{metric} {score} {scale}"],
        ["{rate}/s", "{left} left", "loss {loss}", "{metric} {score} {scale}"],
        ["{rate}/s", "{left} left", "{metric} {score} {scale}"],
        ["{left} left", "{metric} {score}"],
    )
    """What is shown beside the bar, from the fullest form to the shortest, without the parts that are not known yet."""

    def __init__(self) -> None:
        super().__init__(window=50)
        self.bar = tqdm(disable=True)
        self.shown = 0.0

    def on_train_start(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        super().on_train_start(trainer, learner)
        if trainer.is_global_zero:
            self.bar = bar(total=trainer.max_steps, initial=trainer.global_step, bar_format="{bar}")
            self.show(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, learner: pl.LightningModule, outputs: Any, *rest: Any) -> None:
        self.loss = outputs["loss"]
        if time.monotonic() - self.shown >= self.SECONDS:
            self.show(trainer)

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        super().on_validation_end(trainer, learner)
        self.show(trainer)

    def on_train_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        self.show(trainer)
        self.bar.close()

    def on_exception(self, *arguments: Any) -> None:
        self.bar.close()

    def show(self, trainer: pl.Trainer) -> None:
        if self.bar.disable:
            return
        self.shown = time.monotonic()
        self.bar.ncols = shutil.get_terminal_size().columns
        self.bar.bar_format = line(self.values(trainer), self.FORMS, self.bar.ncols)
        self.bar.n = trainer.global_step
        self.bar.refresh()

    def on_test_start(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            batches = sum(map(int, trainer.num_test_batches))
            self.bar = bar(desc="Testing", total=batches, leave=False)

    def on_test_batch_end(self, *arguments: Any) -> None:
        self.bar.update()

    def on_test_end(self, *arguments: Any) -> None:
        self.bar.close()


class StepsLines(Progress):
    """The progress for a file or a pipe: a line for each validation."""

    PARTS = (
        "step {step} of {steps}", "train_loss {loss}", "val_loss {val_loss}", "val_{metric} {score} {scale}",
        "{rate} steps/s", "{left} left",
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__(window=2)

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        super().on_validation_end(trainer, learner)
        if self.loss is not None and trainer.is_global_zero:
            print("  ".join(known(self.PARTS, self.values(trainer))), flush=True)


def bar(**settings: Any) -> "tqdm[Any]":
    """A bar for a terminal. One that does not tell its size, as under `script`, counts as 80 columns wide."""
    # Without nrows, tqdm asks the terminal for its height, and shows nothing if that is 0.
    return tqdm(file=sys.stdout, ncols=shutil.get_terminal_size().columns, nrows=2, **settings)


def known(parts: Sequence[str], values: dict[str, str]) -> list[str]:
    """The parts whose values are all known, filled in."""
    filled = []
    for part in parts:
        with suppress(KeyError):
            filled.append(part.format_map(values))
    return filled


def line(values: dict[str, str], forms: Sequence[Sequence[str]], columns: int) -> str:
    """The first of the forms that fits into this many columns, with or without a bar, as a format of tqdm."""
    for parts in forms:
        text = ", ".join(known(parts, values))
        for before, length in (("{percentage:3.0f}%|{bar}| ", 10), ("{percentage:.0f}% ", 5)):
            if length + len(text) <= columns:
                return before + text
    return text[:columns]


class NoProfiler(PassThroughProfiler):
    """Measures nothing, like Lightning's default, but without a new context manager for each hook of each step."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def report_in_one_line(failure: threading.ExceptHookArgs) -> None:
    """Report a file that a logger's thread cannot write, without the trace; pass on any other error."""
    if isinstance(failure.exc_value, OSError):
        print(f"error: {failure.exc_value}", file=sys.stderr)
    else:
        threading.__excepthook__(failure)


def quieten() -> None:
    """Silence the messages that Lightning repeats on every run, and its warnings about deliberate choices."""
    threading.excepthook = report_in_one_line
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning 2.6 uses torch's tree utilities in a way that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # Batches are drawn faster than a worker process can send them.
    warnings.filterwarnings("ignore", "The '.*dataloader' does not have many workers")
