"""From a config to the parts of a run: task, model, optimizer, data and trainer, each checked where it is made."""

import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.profilers import PassThroughProfiler
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from seqmodels.checks import check_whole
from seqmodels.config import UserError, arguments_of, check_seed, instantiate, nearest, user_errors
from seqmodels.data import SequenceData
from seqmodels.learner import Learner
from seqmodels.model import SequenceModel
from seqmodels.tasks import Split, Task


def check_settings(config: DictConfig) -> None:
    """The settings that no constructor checks."""
    check_seed(config)
    try:
        if config.embedding_size is not None:
            check_whole("embedding_size", config.embedding_size, 1)
        for name in ("max_steps", "val_check_interval", "accumulate_grad_batches", "log_every_n_steps"):
            check_whole(f"trainer.{name}", config.trainer[name], 1)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    if not isinstance(config.data, DictConfig):
        raise UserError(f"data should have settings such as data.batch_size=64, got {config.data!r}")
    if "parity" in config and str(config.parity).lower() not in ("on", "off", "true", "false"):
        raise UserError(
            f"parity should be on or off, got {config.parity!r}{nearest(str(config.parity), ['on', 'off'])}"
        )


def build_task(config: DictConfig) -> Task:
    task = instantiate(config.task, "task")
    if not isinstance(task, Task):
        raise UserError(f"task._target_={config.task._target_} should be a Task, got {type(task).__name__}")
    return task


def build_model(config: DictConfig, task: Task) -> SequenceModel:
    with user_errors("model", config.model):
        model = SequenceModel(
            lambda input_size: instantiate(config.model, "model", input_size=input_size),
            task.input_size,
            task.output_size,
            task.tokens,
            task.every_step,
            config.embedding_size,
        )
    if task.predicts_next and model.directions == 2:
        raise UserError(
            f"model.bidirectional should be false for {type(task).__name__}, which asks for what comes next: "
            "a layer that reads backwards has seen it"
        )
    if task.lengths and task.lengths.mixed and not model.takes_lengths:
        raise UserError(
            f"task.mixed_lengths=True needs a layer that reads packed sequences, or in one direction only: "
            f"model={config.model_name} does neither"
        )
    return model


def build_optimizer(config: DictConfig) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """What makes the optimizer from parameters, and the scheduler, if any, from the optimizer."""
    optimizer = instantiate(config.optimizer, "optimizer")
    return optimizer, None if config.scheduler._target_ is None else instantiate(config.scheduler, "scheduler")


def try_optimizer(config: DictConfig, learner: Learner) -> None:
    """Take optimizer and scheduler through a run on one number: they check their values only where they use them."""
    number = nn.Parameter(torch.zeros(1))
    number.grad = torch.zeros(1)
    with user_errors("optimizer", config.optimizer):
        optimizer = learner.optimizer([number])
        optimizer.step()
    if learner.scheduler is not None:
        try:
            scheduler = learner.scheduler(optimizer)
            for _ in range(min(config.trainer.max_steps, 10_000)):
                optimizer.step()
                scheduler.step()
        except (ValueError, TypeError, ArithmeticError) as error:
            raise UserError(f"scheduler={arguments_of(config.scheduler)}: {error}") from error


def build_data(config: DictConfig, task: Task) -> SequenceData:
    batches = config.trainer.max_steps * config.trainer.accumulate_grad_batches
    with user_errors("data", config.data):
        data = SequenceData(task, batches, config.seed, **arguments_of(config.data))
    splits: list[tuple[str, Split]] = [("limit_val_batches", "val"), ("limit_test_batches", "test")]
    for name, split in splits:
        limit, count = config.trainer[name], len(data.batches(split))
        if not isinstance(limit, int | float) or (limit if isinstance(limit, int) else int(limit * count)) < 1:
            raise UserError(f"trainer.{name} should leave at least one of the {count} batches, got {limit!r}")
    return data


def build_trainer(config: DictConfig, folder: Path) -> pl.Trainer:
    # The loggers make their files when the first value arrives.
    loggers: list[Any] = [CSVLogger(folder, name="", version="")]
    if config.logger._target_ is not None:
        loggers.append(instantiate(config.logger, "logger", save_dir=str(folder)))
    best = ModelCheckpoint(folder / "checkpoints", filename="best", monitor="val_loss", enable_version_counter=False)
    callbacks: list[Callback] = [best]
    if config.trainer.enable_progress_bar:
        callbacks.append(StepsBar(refresh_rate=50))
    settings: Any = config.trainer.copy()
    settings.val_check_interval = min(settings.val_check_interval, settings.max_steps)
    settings.log_every_n_steps = min(settings.log_every_n_steps, settings.max_steps)
    return instantiate(
        settings,
        "trainer",
        logger=loggers,
        callbacks=callbacks,
        profiler=NoProfiler(),
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


class NoProfiler(PassThroughProfiler):
    """Measures nothing, as Lightning's default does, without making a context manager for each of a step's hooks."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self.nothing


class StepsBar(TQDMProgressBar):
    """Lightning's progress bar as one line for the run, in steps per second, redrawn only as often as it logs."""

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


def quieten() -> None:
    """Silence what Lightning says on every run, and what our own choices make it warn about."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Lightning 2.6 asks torch's tree utilities in a way that torch 2.13 calls outdated.
    warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
    # Batches are drawn faster than a worker process could send them.
    warnings.filterwarnings("ignore", "The '.*dataloader' does not have many workers")
    # The folder is checked before: it may hold files, but no run.
    warnings.filterwarnings("ignore", "Experiment logs directory .* exists and is not empty")
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
