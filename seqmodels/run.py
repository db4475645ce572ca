"""The story of one run, and how to come back to it."""

import math
import platform
import signal
import subprocess
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from torch import Tensor, nn

from seqmodels import __version__, report
from seqmodels.build import (
    build_data,
    build_model,
    build_optimizer,
    build_task,
    build_trainer,
    check_settings,
    quieten,
    try_optimizer,
)
from seqmodels.config import PACKAGE, UserError, arguments_of, target_of, user_errors
from seqmodels.data import SequenceData
from seqmodels.learner import Learner
from seqmodels.model import SequenceModel
from seqmodels.parity import ParityReport, compare_configured
from seqmodels.tasks import DrawnTask, Task


def run(config: DictConfig, folder: Path) -> dict[str, Any]:
    """Build, prove, train, test and report one configured run; returns what `result.json` holds.

    Nothing is written into the folder before everything is built and the layer is proven.

    Raises:
        UserError: a value of the config is wrong, the layer differs from its reference, or training diverged.
    """
    console = Console()
    quieten()

    # Build. The first draw from the seed is the model's, so that equal seeds give equal initial weights.
    report.check_folder(folder)
    check_settings(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    task = build_task(config)
    model = build_model(config, task)
    learner = Learner(model, task, *build_optimizer(config))
    try_optimizer(config, learner)
    data = build_data(config, task)

    # Prove.
    parity = prove(config, task, console)

    # Train, keeping the checkpoint that validates best.
    trainer = build_trainer(config, folder)
    report.write_config(config, folder)
    started = time.perf_counter()
    try:
        with user_errors():
            trainer.fit(learner, data)
    except SystemExit as stop:  # Lightning's, on Ctrl-C, after which it does not listen to another
        signal.signal(signal.SIGINT, signal.default_int_handler)
        trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
        raise KeyboardInterrupt(f"interrupted at step {trainer.global_step}; what there is, is in {folder}") from stop
    seconds = time.perf_counter() - started
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    checkpoints: Any = trainer.checkpoint_callback
    if checkpoints.best_model_score is None:
        raise UserError(f"trainer ended training before the first validation, at step {trainer.global_step} ({folder})")
    if not math.isfinite(checkpoints.best_model_score):
        raise UserError(f"training diverged, no validation loss is finite: try a smaller optimizer.lr ({folder})")

    # Test that checkpoint, once.
    load_weights(model, folder / "checkpoints" / "best.ckpt")
    trainer.test(learner, data, verbose=False)
    scores = {name: value.item() for name, value in trainer.callback_metrics.items()}
    test = scores[f"test_{task.metric_name}"]
    if not math.isfinite(test):
        raise UserError(
            f"training diverged, the test {task.metric_name} is {test}: try a smaller optimizer.lr ({folder})"
        )

    # Report.
    result = {
        "model": str(config.model_name),
        "layer": f"{type(model.layer).__module__}.{type(model.layer).__qualname__}",
        "task": str(config.task_name),
        "claim": None if config.claim is None else str(config.claim),
        "seed": config.seed,
        "metric": task.metric_name,
        "test": test,
        **by_length(task, scores),
        "chance": task.chance,
        "baselines": task.baselines,
        "solved": task.is_solved(test),
        "solved_at": task.solved_at,
        "steps": trainer.global_step,
        "seconds": seconds,
        "steps_per_second": trainer.global_step / seconds,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "parity": parity.as_dict() if isinstance(parity, ParityReport) else parity,
        "facts": task.facts,
        "versions": {"seqmodels": __version__}
        | {name: version(name) for name in ("torch", "lightning", "torchmetrics", "hydra-core", "omegaconf")}
        | {"python": platform.python_version()},
        "git": git_revision(),
    }
    report.write_result(result, folder)
    report.plot_curves(task, folder)
    report.plot_predictions(task, *answers(model, data), folder)
    console.print(report.result_table(result))
    if len(result["lengths"]) > 1:
        report.plot_lengths(result, folder)
        console.print(report.lengths_table(result))
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


def prove(config: DictConfig, task: Task, console: Console) -> ParityReport | str:
    """Refuse to go on with a layer that differs from the reference it names; says why where nothing was compared."""
    if str(config.parity).lower() in ("off", "false"):
        console.print("parity=off: the layer is [bold]not[/bold] compared with its reference")
        return "off"
    report = compare_configured(config, task)
    if report is None:
        console.print(f"parity: model={config.model_name} names no reference to be compared with")
        return "no reference"
    console.print(report.table())
    report.check()
    return report


def answers(model: SequenceModel, data: SequenceData) -> tuple[Tensor, Tensor]:
    """The model's answers to the test split, and the targets, on the CPU; of drawn tasks the first batch only."""
    batches = data.batches("test")
    count = 1 if data.task.examples("test") is None else len(batches)
    model = model.cpu().float().eval()
    with torch.inference_mode():
        pairs = [(model(inputs, *lengths), targets) for inputs, targets, *lengths in (batches[i] for i in range(count))]
    outputs, targets = zip(*pairs, strict=True)
    return torch.cat(outputs), torch.cat(targets)


def by_length(task: Task, scores: dict[str, float]) -> dict[str, Any]:
    """The test at each of its lengths, and the mean over those that training did not have; of drawn tasks."""
    if not isinstance(task, DrawnTask):
        return {"unseen": None, "trained_lengths": None, "lengths": []}
    test = f"test_{task.metric_name}"
    lengths = [
        {
            "length": length,
            "test": scores.get(f"{test}_at_{length}", scores[test]),
            "chance": task.chance_at(length),
            "unseen": task.lengths.unseen(length),
        }
        for length in task.lengths.tests
    ]
    unseen = [row["test"] for row in lengths if row["unseen"]]
    return {
        "unseen": sum(unseen) / len(unseen) if unseen else None,
        "trained_lengths": [task.lengths.shortest, task.lengths.longest],
        "lengths": lengths,
    }


def git_revision() -> str | None:
    """The commit of the checkout the package runs from, with "-dirty" where files have changed since."""
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
