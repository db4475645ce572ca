"""Adjustments to Lightning's trainer: progress in one line, or in plain lines for a file; fewer messages."""

import logging
import sys
import threading
import time
import warnings
from contextlib import nullcontext
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, TQDMProgressBar
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor
from tqdm import tqdm

from seqmodels.report.tables import significant


class StepsBar(TQDMProgressBar):
    """Lightning's progress bar as one line for the whole run, in steps per second, with the latest training loss."""

    def __init__(self, refresh_rate: int) -> None:
        super().__init__(refresh_rate)
        self.loss: Tensor | None = None

    def init_train_tqdm(self) -> Any:
        bar = super().init_train_tqdm()
        bar.unit = " steps"
        return bar

    def init_validation_tqdm(self) -> Any:
        return tqdm(disable=True)

    def on_train_start(self, trainer: pl.Trainer, *rest: Any) -> None:
        super().on_train_start(trainer, *rest)
        # Lightning sets up the bar at the start of an epoch, but a resumed run starts in the middle of one.
        bar, done = self.train_progress_bar, trainer.global_step * trainer.accumulate_grad_batches
        bar.reset(trainer.num_training_batches)
        bar.initial = bar.n = done
        bar.set_description("Training")

    def on_train_epoch_start(self, *arguments: Any) -> None:
        pass

    def on_train_batch_end(self, trainer: pl.Trainer, learner: pl.LightningModule, outputs: Any, *rest: Any) -> None:
        self.loss = outputs["loss"]
        super().on_train_batch_end(trainer, learner, outputs, *rest)

    def get_metrics(self, trainer: pl.Trainer, learner: pl.LightningModule) -> dict[str, Any]:
        # Lightning has divided the loss by the batches that make a step.
        loss = {} if self.loss is None else {"train_loss": self.loss.item() * trainer.accumulate_grad_batches}
        metrics = loss | super().get_metrics(trainer, learner)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class StepsLines(Callback):
    """The progress for a file or a pipe: a line for each validation."""

    def __init__(self) -> None:
        self.loss: Tensor | None = None
        self.started, self.first = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        self.started, self.first = time.monotonic(), trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, learner: pl.LightningModule, outputs: Any, *rest: Any) -> None:
        self.loss = outputs["loss"]

    def on_validation_end(self, trainer: pl.Trainer, learner: pl.LightningModule) -> None:
        if self.loss is None or not trainer.is_global_zero:
            return
        rate = (trainer.global_step - self.first) / (time.monotonic() - self.started)
        values = {"train_loss": self.loss.item() * trainer.accumulate_grad_batches}
        values |= {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("val_")}
        text = "  ".join(f"{name} {significant(value)}" for name, value in values.items())
        print(f"step {trainer.global_step} of {trainer.max_steps}  {text}  {rate:.0f} steps/s", flush=True)


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
