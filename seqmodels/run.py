"""The story of one run: prove, train, test, report."""

import math
import platform
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from seqmodels import __version__
from seqmodels.build import Parts
from seqmodels.checks import UserError
from seqmodels.config import PACKAGE, user_errors
from seqmodels.data import SequenceData
from seqmodels.model import SequenceModel
from seqmodels.parity import ParityReport, compare_for_task
from seqmodels.report.curves import plot_curves, plot_lengths
from seqmodels.report.folder import check_folder, write_config, write_result
from seqmodels.report.predictions import plot_predictions
from seqmodels.report.sheet import title_of
from seqmodels.report.tables import lengths_table, parity_table, result_table
from seqmodels.restore import load_weights
from seqmodels.tasks import DrawnTask, Task


def run(parts: Parts, folder: Path) -> dict[str, Any]:
    """Prove, train, test and report; returns the content of `result.json`.

    Nothing is written into the folder before the layer is proven.

    Raises:
        UserError: the folder holds a run, the layer differs from its reference, or training diverged.
    """
    console = Console()
    check_folder(folder)
    parity = prove(parts, console)
    write_config(parts.config, folder)
    seconds = train(parts, folder)
    best = load_weights(parts.model, folder / "checkpoints" / "best.ckpt")
    scores = test(parts, folder)
    result = result_of(parts, parity, scores, best["global_step"], seconds)
    write_result(result, folder)
    plot_curves(result, folder)
    plot_predictions(parts.task, *answers(parts.model, parts.data), folder, title_of(result))
    console.print(result_table(result))
    if len(result["lengths"]) > 1:
        plot_lengths(result, folder)
        console.print(lengths_table(result))
    console.print(f"Results are in [bold]{folder}[/bold]", soft_wrap=True)
    return result


def prove(parts: Parts, console: Console) -> ParityReport | str:
    """Compare the layer with the reference it names; returns the report, or why nothing was compared.

    Raises:
        ParityError: they differ.
    """
    if not parts.proves:
        console.print("parity=off: the layer is [bold]not[/bold] compared with its reference")
        return "off"
    embedding_size = parts.model.arguments["embedding_size"]
    report = compare_for_task(parts.layer, parts.task, parts.data.batch_size, embedding_size, parts.seed)
    if report is None:
        console.print(f"parity: model={parts.names['model']} names no reference to be compared with")
        return "no reference"
    console.print(parity_table(report))
    report.check()
    return report


def train(parts: Parts, folder: Path) -> float:
    """Train, keeping the best checkpoint on validation and the last one; returns the seconds of training."""
    trainer, last = parts.trainer, folder / "checkpoints" / "last.ckpt"
    started = time.perf_counter()
    try:
        with user_errors():
            trainer.fit(parts.learner, parts.data)
    except SystemExit as stop:  # Lightning raises it on Ctrl-C, and would ignore a second one
        signal.signal(signal.SIGINT, signal.default_int_handler)
        trainer.save_checkpoint(last)
        raise KeyboardInterrupt(f"interrupted at step {trainer.global_step}; its files are in {folder}") from stop
    seconds = time.perf_counter() - started
    trainer.save_checkpoint(last)
    checkpoints: Any = trainer.checkpoint_callback
    if checkpoints.best_model_score is None:
        raise UserError(f"training ended before the first validation, at step {trainer.global_step} ({folder})")
    if not math.isfinite(checkpoints.best_model_score):
        raise UserError(f"training diverged, no validation loss is finite: try a smaller optimizer.lr ({folder})")
    return seconds


def test(parts: Parts, folder: Path) -> dict[str, float]:
    """Test the model, once; returns everything logged: the loss and the task's metric, also at each length.

    Raises:
        UserError: the score is not finite.
    """
    parts.trainer.test(parts.learner, parts.data, verbose=False)
    scores = {name: value.item() for name, value in parts.trainer.callback_metrics.items()}
    score = scores[f"test_{parts.task.metric_name}"]
    if not math.isfinite(score):
        raise UserError(
            f"training diverged, the test {parts.task.metric_name} is {score}: try a smaller optimizer.lr ({folder})"
        )
    return scores


def result_of(
    parts: Parts, parity: ParityReport | str, scores: dict[str, float], best_step: int, seconds: float
) -> dict[str, Any]:
    """The content of `result.json`, in plain containers."""
    task, model, steps = parts.task, parts.model, parts.trainer.global_step
    score = scores[f"test_{task.metric_name}"]
    return {
        **parts.names,
        "layer": f"{type(model.layer).__module__}.{type(model.layer).__qualname__}",
        "claim": parts.claim,
        "seed": parts.seed,
        "metric": task.metric_name,
        "test": score,
        **by_length(task, scores),
        "chance": task.chance,
        "baselines": task.baselines,
        "solved": task.is_solved(score),
        "solved_at": task.solved_at,
        "steps": steps,
        "best_step": best_step,
        "seconds": seconds,
        "steps_per_second": steps / seconds,
        "threads": torch.get_num_threads(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "parity": parity.as_dict() if isinstance(parity, ParityReport) else parity,
        "facts": task.facts,
        "versions": {"seqmodels": __version__}
        | {name: version(name) for name in ("torch", "lightning", "torchmetrics", "hydra-core", "omegaconf")}
        | {"python": platform.python_version()},
        "git": git_revision(),
    }


def by_length(task: Task, scores: dict[str, float]) -> dict[str, Any]:
    """The test of a drawn task at each of its lengths, and the mean over the unseen ones."""
    if not isinstance(task, DrawnTask):
        return {"unseen": None, "trained_lengths": None, "lengths": []}
    rows = [
        {
            "length": length,
            "test": scores[f"test_{task.metric_name}{name}"],
            "chance": task.chance_at(length),
            "unseen": task.lengths.unseen(length),
        }
        for length, name in zip(task.lengths.tests, task.tests, strict=True)
    ]
    unseen = [row["test"] for row in rows if row["unseen"]]
    return {
        "unseen": sum(unseen) / len(unseen) if unseen else None,
        "trained_lengths": [task.lengths.shortest, task.lengths.longest],
        "lengths": rows,
    }


def answers(model: SequenceModel, data: SequenceData) -> tuple[Tensor, Tensor]:
    """The model's answers to the test split, and the targets, on the CPU; for drawn tasks, of the first batch only."""
    batches = data.batches("test")
    count = 1 if data.task.examples("test") is None else len(batches)
    model = model.cpu().float().eval()
    with torch.inference_mode():
        pairs = [(model(inputs, *lengths), targets) for inputs, targets, *lengths in (batches[i] for i in range(count))]
    outputs, targets = zip(*pairs, strict=True)
    return torch.cat(outputs), torch.cat(targets)


def git_revision() -> str | None:
    """The commit of the checkout the package runs from, with "-dirty" where files have changed since.

    None for an installed package, even if its environment lies inside another repository.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(PACKAGE), *words], capture_output=True, text=True, check=True).stdout

    try:
        if Path(git("rev-parse", "--show-toplevel").strip()).resolve() != PACKAGE.parent.resolve():
            return None
        return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()
    except (OSError, subprocess.CalledProcessError):
        return None
