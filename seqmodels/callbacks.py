"""Adjustments to Lightning's trainer: a one-line progress bar, no profiling, and fewer messages."""

import logging
import warnings
from contextlib import nullcontext
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor
from tqdm import tqdm


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

    def on_train_epoch_start(self, *arguments: Any) -> None:
        super().on_train_epoch_start(*arguments)
        self.train_progress_bar.set_description("Training")

    def on_train_batch_end(self, trainer: pl.Trainer, learner: pl.LightningModule, outputs: Any, *rest: Any) -> None:
        self.loss = outputs["loss"]
        super().on_train_batch_end(trainer, learner, outputs, *rest)

    def get_metrics(self, trainer: pl.Trainer, learner: pl.LightningModule) -> dict[str, Any]:
        # Lightning has divided the loss by the batches that make a step.
        loss = {} if self.loss is None else {"train_loss": self.loss.item() * trainer.accumulate_grad_batches}
        metrics = loss | super().get_metrics(trainer, learner)
        return {name: value for name, value in metrics.items() if name != "v_num"}


class NoProfiler(PassThroughProfiler):
    """Measures nothing, like Lightning's default, but without a new context manager for each hook of each step."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


def quieten() -> None:
    """Silence the messages that Lightning repeats on every run, and its warnings about deliberate choices."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning 2.6 uses torch's tree utilities in a way that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # Batches are drawn faster than a worker process can send them.
    warnings.filterwarnings("ignore", "The '.*dataloader' does not have many workers")
    # The folder was checked before: it may hold files, but no run.
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
