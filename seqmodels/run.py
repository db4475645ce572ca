"""The story of one run, and how to come back to it."""

import logging
import math
import platform
import subprocess
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor, nn
from tqdm import tqdm

from seqmodels import __version__, report
from seqmodels.config import PACKAGE, UserError, arguments_of, check_seed, instantiate, nearest, target_of, user_errors
from seqmodels.data import SequenceData
from seqmodels.learner import Learner
from seqmodels.model import SequenceModel
from seqmodels.parity import ParityReport, compare_configured
from seqmodels.tasks import Task
from seqmodels.tasks.task import check_whole


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Build, prove, train, test and report one configured run; returns what `result.json` holds.

    Nothing is written before everything is built and the layer is proven.

    Raises:
        UserError: a value of the config is wrong, the layer differs from its reference, or training diverged.
    """
    console = Console()
    quieten()

    # Build. The first draw from the seed is the model's, so that equal seeds give equal initial weights.
    check_settings(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    task: Task = instantiate(config.task, "task")
    model = build_model(config, task)
    learner = Learner(model, task, *build_optimizer(config))
    with user_errors("optimizer", config.optimizer):
        learner.configure_optimizers()  # once in advance: its values are checked where they are used
    data = build_data(config, task)

    # Prove.
    parity = prove(config, task, console)

    # Train, keeping the checkpoint that validates best.
    trainer = build_trainer(config, folder)
    report.write_config(config, folder)
    started = time.perf_counter()
    trainer.fit(learner, data)
    seconds = time.perf_counter() - started
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    best: Any = trainer.checkpoint_callback
    if not math.isfinite(best.best_model_score):
        raise UserError(f"training diverged, no validation loss is finite: try a smaller optimizer.lr ({folder})")

    # Test that checkpoint, once.
    load_weights(model, folder / "checkpoints" / "best.ckpt")
    test = trainer.test(learner, data, verbose=False)[0][f"test_{task.metric_name}"]

    # Report.
    result = {
        "model": config.model_name,
        "task": config.task_name,
        "claim": config.claim,
        "seed": config.seed,
        "metric": task.metric_name,
        "test": test,
        "chance": task.chance,
        "baselines": task.baselines,
        "solved": task.is_solved(test),
        "solved_at": task.solved_at,
        "steps": trainer.global_step,
        "seconds": seconds,
        "steps_per_second": trainer.global_step / seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "parity": parity.as_dict() if parity else config.parity,
        "versions": {"seqmodels": __version__}
        | {name: version(name) for name in ("torch", "lightning", "torchmetrics", "hydra-core", "omegaconf")}
        | {"python": platform.python_version()},
        "git": git_revision(),
    }
    report.write_result(result, folder)
    report.plot_curves(task, folder)
    report.plot_predictions(task, *answers(model, data), folder)
    console.print(report.result_table(result))
    console.print(f"Results are in [bold]{folder}[/bold]", soft_wrap=True)
    return result


def load_run(folder: str | Path, checkpoint: str = "best", trusted: tuple[str, ...] = ()) -> SequenceModel:
    """The trained model of a run folder, in evaluation mode.

    Args:
        folder: a run folder, `outputs/<task>/<model>/<time>`.
        checkpoint: "best" on validation, or "last".
        trusted: modules of your own whose layers the folder's config may name. Beyond these only layers of
            seqmodels and torch.nn are built: a config is a file that may come from anywhere.

    Raises:
        FileNotFoundError: the folder is not that of a run.
        UserError: the config names a layer that is not trusted.
    """
    folder = Path(folder)
    file = folder / "checkpoints" / f"{checkpoint}.ckpt"
    for needed in (folder / "config.yaml", file):
        if not needed.is_file():
            raise FileNotFoundError(f"expected a run folder with {needed.relative_to(folder)} in it, got {folder}")
    config: Any = OmegaConf.load(folder / "config.yaml")
    layer = partial(trusted_layer(config.model, trusted), **arguments_of(config.model))
    model = SequenceModel(layer, **torch.load(file, weights_only=True, map_location="cpu")["model_arguments"])
    load_weights(model, file)
    return model.eval()


def trusted_layer(config: DictConfig, trusted: tuple[str, ...]) -> type[nn.Module]:
    """The layer class a config from anywhere names, if it comes from a trusted module."""
    modules = ("seqmodels.layers", "torch.nn", *trusted)

    def is_trusted(name: str) -> bool:
        return any(name == module or name.startswith(module + ".") for module in modules)

    if is_trusted(str(config._target_)):
        layer = target_of(config, "model")
        # The module that defines a class counts, and not one that happens to import it.
        if isinstance(layer, type) and issubclass(layer, nn.Module) and is_trusted(layer.__module__):
            return layer
    raise UserError(
        f"model._target_={config._target_} is not a layer of {', '.join(modules)}; "
        "if you trust it, name its module: load_run(folder, trusted=('your.module',))"
    )


def load_weights(model: SequenceModel, checkpoint: Path) -> None:
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    weights = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    model.load_state_dict(weights)


def check_settings(config: DictConfig) -> None:
    """The settings that no constructor checks."""
    check_seed(config)
    with user_errors("config", config):
        if config.embedding_size is not None:
            check_whole("embedding_size", config.embedding_size, 1)
        check_whole("trainer.max_steps", config.trainer.max_steps, 1)
        check_whole("trainer.val_check_interval", config.trainer.val_check_interval, 1)
        check_whole("trainer.accumulate_grad_batches", config.trainer.accumulate_grad_batches, 1)
    if str(config.parity).lower() not in ("on", "off", "true", "false"):
        raise UserError(
            f"parity should be on or off, got {config.parity!r}{nearest(str(config.parity), ['on', 'off'])}"
        )


def build_model(config: DictConfig, task: Task) -> SequenceModel:
    with user_errors("model", config.model):
        return SequenceModel(
            lambda input_size: instantiate(config.model, "model", input_size=input_size),
            task.input_size,
            task.output_size,
            task.tokens,
            task.every_step,
            config.embedding_size,
        )


def build_optimizer(config: DictConfig) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
    """What makes the optimizer from parameters, and the scheduler, if any, from the optimizer."""
    optimizer = instantiate(config.optimizer, "optimizer")
    return optimizer, None if config.scheduler._target_ is None else instantiate(config.scheduler, "scheduler")


def build_data(config: DictConfig, task: Task) -> SequenceData:
    batches = config.trainer.max_steps * config.trainer.accumulate_grad_batches
    with user_errors("data", config.data):
        return SequenceData(task, batches, config.seed, **arguments_of(config.data))


def prove(config: DictConfig, task: Task, console: Console) -> ParityReport | None:
    """Refuse to go on with a layer that differs from the reference it names; None where nothing was compared."""
    if str(config.parity).lower() in ("off", "false"):
        console.print("parity=off: the layer is [bold]not[/bold] compared with its reference")
        return None
    report = compare_configured(config, task)
    if report is None:
        console.print(f"parity: model={config.model_name} names no reference to be compared with")
        return None
    console.print(report.table())
    report.check()
    return report


def build_trainer(config: DictConfig, folder: Path) -> pl.Trainer:
    # The loggers make their files when the first value arrives.
    loggers: list[Any] = [CSVLogger(folder, name="", version="")]
    if config.logger._target_ is not None:
        loggers.append(instantiate(config.logger, "logger", save_dir=str(folder)))
    checkpoint = partial(ModelCheckpoint, folder / "checkpoints", enable_version_counter=False)
    callbacks: list[Callback] = [checkpoint(filename="best", monitor="val_loss"), checkpoint(filename="last")]
    if config.trainer.enable_progress_bar:
        callbacks.append(StepsBar(refresh_rate=50))
    return instantiate(
        config.trainer,
        "trainer",
        val_check_interval=min(config.trainer.val_check_interval, config.trainer.max_steps),
        logger=loggers,
        callbacks=callbacks,
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


class StepsBar(TQDMProgressBar):
    """Lightning's progress bar as one line for the run, in steps per second, redrawn only as often as it logs."""

    def __init__(self, refresh_rate: int) -> None:
        super().__init__(refresh_rate)

    def init_train_tqdm(self) -> Any:
        bar = super().init_train_tqdm()
        bar.unit = " steps"
        return bar

    def init_validation_tqdm(self) -> Any:
        return tqdm(disable=True)

    def on_train_epoch_start(self, *arguments: Any) -> None:
        super().on_train_epoch_start(*arguments)
        self.train_progress_bar.set_description("Training")

    def get_metrics(self, *arguments: Any) -> dict[str, Any]:
        return {name: value for name, value in super().get_metrics(*arguments).items() if name != "v_num"}


def answers(model: SequenceModel, data: SequenceData) -> tuple[Tensor, Tensor]:
    """The model's answers to the test split, and the targets, on the CPU; of drawn tasks the first batch only."""
    batches = data.batches("test")
    count = 1 if data.task.examples("test") is None else len(batches)
    model = model.cpu().float().eval()
    with torch.inference_mode():
        pairs = [(model(inputs), targets) for inputs, targets in (batches[i] for i in range(count))]
    outputs, targets = zip(*pairs, strict=True)
    return torch.cat(outputs), torch.cat(targets)


def git_revision() -> str | None:
    """The commit of the checkout the package runs from, with "-dirty" where files have changed since."""
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


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
