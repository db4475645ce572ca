"""Builds the parts of a run from its config and checks each of them. Later stages do not see the config."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from seqmodels.checks import UserError, as_user_errors, check_choice, check_flag, check_seed, check_whole
from seqmodels.config import arguments_of, instantiate, layer_of, user_errors
from seqmodels.data import SequenceData
from seqmodels.layers import RecurrentLayer
from seqmodels.layers.checks import check_precision
from seqmodels.learner import Learner
from seqmodels.model import SequenceModel
from seqmodels.processes import available_cores, check_started, launcher, number_of_processes
from seqmodels.runs.callbacks import NoProfiler, StepsBar, StepsLines, quieten
from seqmodels.runs.checkpoints import Checkpoints, SealedFiles
from seqmodels.runs.initial import freeze, take_weights
from seqmodels.runs.metrics import MetricsFile
from seqmodels.runs.resume import fixed_settings
from seqmodels.tasks import FiniteTask, Split, Task

SWITCH = ["off", "on"]


@dataclass(frozen=True)
class Parts:
    """The parts of a run."""

    task: Task
    layer: partial
    """The layer's class and arguments, still without `input_size`, and without blocks around it."""
    model: SequenceModel
    learner: Learner
    data: SequenceData
    trainer: pl.Trainer
    checkpoints: Checkpoints
    metrics: MetricsFile
    seed: int
    names: dict[str, str]
    """The names of the model and the task: {"model": ..., "task": ...}."""
    claim: str | None
    """The sentence of the experiment that the run belongs to."""
    proves: bool
    """Whether the layer is compared with its reference before training."""
    frozen: list[str]
    """The parameters that keep their first values."""
    page: bool
    """Whether the run writes a page at its end."""
    config: str
    """The whole config, as YAML."""


def build(config: DictConfig, folder: Path) -> Parts:
    """Build the parts of the run that a config describes. The run will write to `folder`; building it writes nothing.

    Seeds everything. The first random numbers are the model's weights, so equal seeds yield equal initial weights.

    Raises:
        UserError: a value of the config is wrong.
    """
    quieten()
    check_settings(config)
    use_threads(config.threads, config.trainer.devices)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    task = build_task(config.task)
    layer = layer_of(config.model)
    model = build_model(config, layer, task)
    frozen = freeze(model, config.get("freeze", []))
    learner = Learner(model, task, *build_optimizer(config), splits_batches=number_of_processes(config.trainer) > 1)
    data = build_data(config, task)
    metrics = MetricsFile(folder / "metrics.csv")
    with user_errors("checkpoint", arguments_of(config.checkpoint)):
        checkpoints = Checkpoints(
            folder / "checkpoints",
            settings=fixed_settings(config),
            data=task.digest() if isinstance(task, FiniteTask) else "",
            **arguments_of(config.checkpoint),
        )
    if config.get("init_from") is not None and checkpoints.newest()[0] is None:
        checkpoints.initial = take_weights(model, config.init_from)  # a resumed run has its weights in a checkpoint
    trainer = build_trainer(config, folder, metrics, checkpoints)
    with user_errors("trainer", {"precision": config.trainer.precision}):
        check_precisions(model, trainer)
    return Parts(
        task,
        layer,
        model,
        learner,
        data,
        trainer,
        checkpoints,
        metrics,
        seed=config.seed,
        names={"model": str(config.model_name), "task": str(config.task_name)},
        claim=config.claim,
        proves=switch_of(config.parity) == "on",
        frozen=frozen,
        page=config.page,
        config=OmegaConf.to_yaml(config),
    )


def check_settings(config: DictConfig) -> None:
    """Refuse wrong values of the settings that no constructor checks."""
    with as_user_errors():
        check_seed(config.seed)
        check_flag("page", config.page)
        if config.embedding_size is not None:
            check_whole("embedding_size", config.embedding_size, 1)
        check_choice("parity", switch_of(config.parity), SWITCH)
        check_start(config.get("init_from"), config.get("freeze", []))
        for name in ("max_steps", "val_check_interval", "accumulate_grad_batches", "log_every_n_steps"):
            check_whole(f"trainer.{name}", config.trainer.get(name), 1)
        check_clipping(config.trainer.get("gradient_clip_val"))
        check_finite(config)
    check_started(config.trainer)
    if not isinstance(config.data, DictConfig):
        raise UserError(f"data should have settings such as data.batch_size=64, got {config.data!r}")


def check_start(folder: Any, patterns: Any) -> None:
    """Refuse wrong types of the settings `init_from` and `freeze`."""
    if folder is not None and not (isinstance(folder, str) and folder.strip()):
        raise ValueError(f"init_from should be a run folder, or null, got {folder!r}")
    names = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(names, list | ListConfig) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"freeze should be a list of names of parameters, such as [layer.*], got {patterns!r}")


def check_clipping(value: Any) -> None:
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float)) or (value or 0) < 0:
        raise ValueError(f"trainer.gradient_clip_val should be a number of at least 0, or null, got {value!r}")


def check_finite(config: DictConfig) -> None:
    """Refuse infinities and NaN in any setting; no useful run has them."""
    plain: Any = OmegaConf.to_container(config)
    for group, settings in plain.items():
        for name, value in settings.items() if isinstance(settings, dict) else []:
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, float) and not math.isfinite(number):
                    raise ValueError(f"{group}.{name}={value}: {name} should be a finite number, got {number}")


def switch_of(value: Any) -> Any:
    """Return "on" or "off" for a boolean, which means the same, and any other value unchanged."""
    return SWITCH[value] if isinstance(value, bool) else value


def use_threads(threads: Any, processes: int = 1) -> None:
    """Set the number of threads of each process.

    "auto" uses all cores, shared equally by the processes on this machine.
    """
    most = max(available_cores() // processes, 1)
    if threads == "auto":
        if processes == 1:
            return
        threads = most
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= most:
        each = "" if processes == 1 else f", for each of {processes} processes"
        raise UserError(
            f"threads should be a whole number from 1 to {most}{each}, or 'auto' for all cores, got {threads!r}"
        )
    torch.set_num_threads(threads)
    if processes > 1:  # otherwise Lightning would choose the number
        os.environ["OMP_NUM_THREADS"] = str(threads)


def build_task(config: DictConfig) -> Task:
    task = instantiate(config, "task")
    if not isinstance(task, Task):
        raise UserError(f"task._target_={config._target_} should be a Task, got {type(task).__name__}")
    return task


def build_model(config: DictConfig, layer: partial, task: Task) -> SequenceModel:
    make_layer = checked("model", config.model, layer)
    if config.get("block") is not None:
        make_layer = checked("block", config.block, layer_of(config.block, "block", layer=make_layer))
    with user_errors("model", arguments_of(config.model)):
        model = SequenceModel(
            make_layer, task.input_size, task.output_size, task.tokens, task.every_step, config.embedding_size
        )
    if task.predicts_next and model.directions == 2:
        raise UserError(
            f"model.bidirectional should be false for {type(task).__name__}, which predicts later inputs: "
            "a layer that reads backwards has already seen them"
        )
    if task.lengths is not None and task.lengths.mixed and not model.takes_lengths:
        raise UserError(
            f"task.mixed_lengths=true needs a layer that accepts packed sequences, or reads in one direction only; "
            f"model={config.model_name} does neither"
        )
    if task.padded and not model.takes_lengths:
        raise UserError(
            f"sequences of different lengths need a layer that accepts packed sequences, or reads in one direction "
            f"only; model={config.model_name} does neither"
        )
    return model


def checked(name: str, config: DictConfig, make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The same function, with errors about the values of node `name` as `UserError`s."""

    def made(**arguments: Any) -> nn.Module:
        with user_errors(name, arguments_of(config)):
            return make(**arguments)

    return made


def build_optimizer(config: DictConfig) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """Return a function from parameters to the optimizer, and one from the optimizer to the scheduler, if there is one.

    Both are tried on a single parameter first, because they check their arguments only when used.
    """
    make_optimizer = instantiate(config.optimizer, "optimizer")
    number = nn.Parameter(torch.zeros(1))
    number.grad = torch.zeros(1)
    with user_errors("optimizer", arguments_of(config.optimizer)):
        optimizer = make_optimizer([number])
        optimizer.step()
    if config.scheduler._target_ is None:
        return make_optimizer, None
    make_scheduler = instantiate(config.scheduler, "scheduler")
    try:
        scheduler = make_scheduler(optimizer)
        for _ in range(min(config.trainer.max_steps, 10_000)):
            optimizer.step()
            scheduler.step()
        if getattr(scheduler, "total_steps", config.trainer.max_steps) < config.trainer.max_steps:
            raise ValueError(f"total_steps should be at least trainer.max_steps={config.trainer.max_steps}")
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"scheduler={arguments_of(config.scheduler)}: {error}") from error
    return make_optimizer, make_scheduler


def build_data(config: DictConfig, task: Task) -> SequenceData:
    batches = config.trainer.max_steps * config.trainer.accumulate_grad_batches
    with user_errors("data", arguments_of(config.data)):
        data = SequenceData(task, batches, config.seed, **arguments_of(config.data))
    splits: list[tuple[str, Split]] = [("limit_val_batches", "val"), ("limit_test_batches", "test")]
    for name, split in splits:
        limit, count = config.trainer[name], len(data.batches(split))
        if not isinstance(limit, int | float) or (limit if isinstance(limit, int) else int(limit * count)) < 1:
            raise UserError(f"trainer.{name} should leave at least one of the {count} batches, got {limit!r}")
    return data


def build_trainer(config: DictConfig, folder: Path, metrics: MetricsFile, checkpoints: Checkpoints) -> pl.Trainer:
    # The loggers create their files when the first value arrives.
    loggers: list[Any] = [metrics]
    if config.logger._target_ is not None:
        loggers.append(instantiate(config.logger, "logger", save_dir=str(folder)))
    callbacks: list[Callback] = [checkpoints]
    if config.trainer.enable_progress_bar:
        callbacks.append(StepsBar() if sys.stdout.isatty() else StepsLines())
    settings: Any = config.trainer.copy()
    settings.val_check_interval = min(settings.val_check_interval, settings.max_steps)
    settings.log_every_n_steps = min(settings.log_every_n_steps, settings.max_steps)
    settings.enable_progress_bar = False  # Lightning's own
    trainer = instantiate(
        settings,
        "trainer",
        logger=loggers,
        callbacks=callbacks,
        plugins=[SealedFiles(), *build_environment(settings)],
        strategy="ddp" if number_of_processes(settings) > 1 else "auto",
        use_distributed_sampler=False,  # which would shuffle the batches; the learner takes its rows of each
        profiler=NoProfiler(),
        num_sanity_val_steps=0,
        enable_checkpointing=False,  # by Lightning's own callback
        enable_model_summary=False,
    )
    if number_of_processes(settings) > 1:
        # Lightning's SIGTERM handler would wait for the other processes, which may never answer.
        trainer._signal_connector.register_signal_handlers = lambda: None
    return trainer


def check_precisions(model: nn.Module, trainer: pl.Trainer) -> None:
    """Refuse layers that cannot compute in the precision to which the trainer will convert their weights."""
    dtype = next(trainer.precision_plugin.convert_module(nn.Linear(1, 1)).parameters()).dtype
    for module in model.modules():
        if isinstance(module, RecurrentLayer):
            check_precision(module, dtype)


def build_environment(trainer: DictConfig) -> list[Any]:
    """The plugin that tells Lightning the rank of this process, where it would detect it wrongly."""
    if number_of_processes(trainer) > 1 and launcher() != "torchrun":
        with user_errors("trainer"):
            return [SLURMEnvironment(auto_requeue=False) if launcher() == "srun" else LightningEnvironment()]
    return []
