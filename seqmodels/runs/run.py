"""One run from start to finish: prove, train, test, report."""

import math
import platform
import re
import shlex
import subprocess
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor

from seqmodels import __version__
from seqmodels.batches import joined
from seqmodels.checks import UserError
from seqmodels.config import PACKAGE, user_errors
from seqmodels.config.folders import override
from seqmodels.data import SequenceData
from seqmodels.files import remove_parts, writing_whole
from seqmodels.layers import Blocks
from seqmodels.layers.blocks import mixers_in
from seqmodels.learner import Diverged
from seqmodels.model import SequenceModel
from seqmodels.parity import ParityReport, compare_for_task, why_not_compared
from seqmodels.predict.predictor import test_predictions
from seqmodels.report.curves import plot_curves, plot_lengths
from seqmodels.report.folder import check_folder, write_config, write_result
from seqmodels.report.predictions import plot_predictions
from seqmodels.report.sheet import title_of
from seqmodels.report.tables import counted, lengths_table, parity_table, result_table, rows_table
from seqmodels.report.verdict import advice, verdict_of
from seqmodels.restore import load_weights
from seqmodels.runs import loggers
from seqmodels.runs.build import Parts
from seqmodels.runs.initial import description
from seqmodels.runs.page import write_page
from seqmodels.runs.resume import plain_settings
from seqmodels.stops import Stopped, stop_signals
from seqmodels.tasks import DrawnTask, Task


def run(parts: Parts, folder: Path, resumes: bool = False) -> dict[str, Any]:
    """Prove, train, test and report; returns the content of `result.json`.

    With several processes, only the first proves, writes and reports; the others train and test with it and return {}.
    A new run writes nothing before the layer is proven; `result.json` is written last. With `resumes`, the run that the
    folder holds continues from its last checkpoint.

    Raises:
        UserError: the folder holds a run, the layer differs from its reference, or the run failed or diverged.
        Stopped: a signal has ended the run.
    """
    writes = parts.trainer.is_global_zero
    console = Console(quiet=not writes)
    parity: ParityReport | str = ""
    if writes:
        if not resumes:
            check_folder(folder)
        parity = prove(parts, console)
        show_tables(parts.task.report, console)
        if resumes:
            (folder / "result.json").unlink(missing_ok=True)  # of fewer steps
        write_config(parts.config, folder)
        show_start(parts, console)
    with continuable(folder if writes else None), loggers.closing(parts.trainer.loggers):
        diverged = train(parts, folder, resumes, console)
        scores = None if parts.checkpoints.best_step is None else test(parts)
        if not writes:
            return {}
        result = result_of(parts, parity, scores, diverged)
        if scores is not None:
            outputs, targets = answers(parts.model, parts.data)
            result["details"] = dict(parts.task.details(outputs, targets))
            draw(parts, result, outputs, targets, folder)
            write_predictions(parts, folder)
        result["verdict"] = verdict_of(result, tested(parts))
        write_result(result, folder)
    if parts.page:
        modules = {type(layer).__module__ for layer in (parts.model.layer, *mixers_in(parts.model.layer))}
        write_page(folder, tuple(modules), parts.task)
    try:
        show(result, parts, folder, console)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UserError(f"cannot write to standard output: {error.strerror}; the results are in {folder}") from error
    if diverged is not None:
        kept = parts.checkpoints.saved_step == diverged.step - 1
        where = "; checkpoints/last.ckpt holds the weights before it" if kept else ""
        raise UserError(f"{diverged}: try a smaller optimizer.lr or trainer.gradient_clip_val{where} ({folder})")
    return result


def show_start(parts: Parts, console: Console) -> None:
    """Print which weights came from another run, and what stays as it is; nothing for most runs."""
    if parts.checkpoints.initial is not None:
        console.print(escape(description(parts.checkpoints.initial)), soft_wrap=True)
    if parts.frozen:
        trained = counted(trained_parameters(parts.model), "parameter")
        console.print(escape(f"frozen: {', '.join(parts.frozen)}; {trained} to train"), soft_wrap=True)


def tested(parts: Parts) -> int:
    """The number of sequences in the test."""
    drawn = parts.data.batch_size * sum(map(int, parts.trainer.num_test_batches))
    return min(drawn, parts.task.examples("test") or drawn)


def show(result: dict[str, Any], parts: Parts, folder: Path, console: Console) -> None:
    """Print the result, what to try if it is no better than chance, and where the results are."""
    if result["test"] is not None:
        console.print(result_table(result))
        if len(result["lengths"]) > 1:
            console.print(lengths_table(result))
        show_tables(result["details"], console)
        if result["verdict"] == "chance" and result["diverged_at"] is None:
            console.print(escape(advice(result, parts.task, pd.read_csv(folder / "metrics.csv"))))
    console.print(f"Results are in [bold]{escape(str(folder))}[/bold]", soft_wrap=True)


def show_tables(tables: Mapping[str, Sequence[Mapping[str, Any]]], console: Console) -> None:
    """Print tables, each below its title."""
    for title, rows in tables.items():
        console.print(escape(title), style="bold", soft_wrap=True)
        console.print(rows_table(rows))


@contextmanager
def continuable(folder: Path | None) -> Iterator[None]:
    """Add to each error that ends the run how to resume it, in the process that writes the folder."""

    def hint() -> str:
        begun = folder is not None and (folder / "config.yaml").exists()
        return f"; {shlex.quote(override('resume', folder))} continues the run" if begun else ""

    try:
        with user_errors():
            yield
    except Stopped as stop:
        stop.message += hint()
        raise
    except BrokenPipeError as error:
        raise UserError(f"standard output was closed{hint()}") from error
    except UserError as error:
        raise UserError(f"{error}{hint()}") from error
    except Exception as error:
        raise UserError(f"the run failed with {described(error)}{hint()}") from error


def described(error: Exception) -> str:
    """An error's type, message and place in one line; the place is in the user's code, if any of it was involved."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, RuntimeError) and re.search("gloo|NCCL", text):
        return "a lost connection to another process"
    places = [(frame.filename, str(frame.lineno)) for frame in traceback.extract_tb(error.__traceback__)]
    if text.startswith("Caught "):  # in a data worker, whose whole trace is the message
        places = re.findall(r'File "(.+)", line (\d+)', text)
        text = text.rpartition(f"{name}: ")[2]
    message = f"{name}: {' '.join(text.split())}"
    own = [place for place in places if "site-packages" not in place[0] and "<" not in place[0]]
    file, line = (own or places)[-1]
    return f"{message} ({file}, line {line}; HYDRA_FULL_ERROR=1 shows the trace)"


def prove(parts: Parts, console: Console) -> ParityReport | str:
    """Compare the layer with the reference it names; returns the report, or why nothing was compared.

    Raises:
        ParityError: they differ.
    """
    if not parts.proves:
        console.print("parity=off: the layer is [bold]not[/bold] compared with its reference")
        return "off"
    report = compare_for_task(parts.layer, parts.task, parts.data.batch_size, features_read(parts.model), parts.seed)
    if report is None:
        console.print(f"parity: {why_not_compared(parts.layer)}")
        return "no reference"
    console.print(parity_table(report))
    report.check()
    return report


def features_read(model: SequenceModel) -> int:
    """How many features the layer of a model reads: those of the inputs, or of the blocks around it."""
    if isinstance(model.layer, Blocks):
        return model.layer.hidden_size
    arguments: Any = model.arguments
    return arguments["embedding_size"] or arguments["input_size"]


def train(parts: Parts, folder: Path, resumes: bool, console: Console) -> Diverged | None:
    """Train, from the last checkpoint if the run `resumes`; returns where training diverged, if it did."""
    if parts.trainer.is_global_zero:
        remove_parts(folder)
        remove_parts(folder / "checkpoints")
    start, steps, problems = parts.checkpoints.newest() if resumes else (None, 0, [])
    if resumes:
        for problem in problems:
            console.print(escape(problem), soft_wrap=True)
        console.print(f"Continuing from step {steps}" + (f", {start.name}" if start else ": there is no checkpoint"))
    if parts.trainer.is_global_zero:
        parts.metrics.cut(steps)
        loggers.begin(parts.trainer.loggers, plain_settings(parts.config), steps)
    try:
        with stop_signals.waiting():
            parts.trainer.fit(parts.learner, parts.data, ckpt_path=start)
    except Diverged as diverged:
        return diverged
    return None


def test(parts: Parts) -> dict[str, float]:
    """Test the best checkpoint; returns everything logged: the loss and the task's metric, also at each length."""
    if parts.trainer.is_global_zero:  # Lightning copies its weights to the other processes
        step = load_weights(parts.model, parts.checkpoints.best)["global_step"]
        if step != parts.checkpoints.best_step:
            raise UserError(
                f"checkpoints/best.ckpt is of step {step}, but the best step was {parts.checkpoints.best_step}: "
                "the continued run did not come to the same numbers again, as may happen on another processor"
            )
    parts.trainer.test(parts.learner, parts.data, verbose=False)
    score = parts.trainer.callback_metrics[f"test_{parts.task.metric_name}"].item()
    if not math.isfinite(score):
        raise UserError(f"the test {parts.task.metric_name} is {score}, although the validation loss is finite")
    return {name: value.item() for name, value in parts.trainer.callback_metrics.items()}


def draw(parts: Parts, result: dict[str, Any], outputs: Tensor, targets: Tensor, folder: Path) -> None:
    """Draw all pictures of the run into its folder."""
    plot_curves(result, folder)
    plot_predictions(parts.task, outputs, targets, folder, title_of(result))
    if len(result["lengths"]) > 1:
        plot_lengths(result, folder)


def write_predictions(parts: Parts, folder: Path) -> None:
    """Write the answers to the test into predictions.csv, in the units of the files, where a task has a reader of such.

    They are computed as `seqmodels predict` computes them.
    """
    tables = test_predictions(parts.task, parts.model.cpu().float().eval())
    if tables is None:
        return
    with writing_whole(folder / "predictions.csv") as file:
        for number, table in enumerate(tables):
            table.to_csv(file, index=False, header=number == 0)


def result_of(
    parts: Parts, parity: ParityReport | str, scores: dict[str, float] | None, diverged: Diverged | None
) -> dict[str, Any]:
    """The content of `result.json`, in plain containers.

    Without scores, because training diverged before the first validation, `test` is None and nothing is solved.
    """
    task, model, steps, seconds = parts.task, parts.model, parts.trainer.global_step, parts.checkpoints.seconds
    score = None if scores is None else scores[f"test_{task.metric_name}"]
    layer = type(mixers_in(model.layer)[0])
    return {
        **parts.names,
        "layer": f"{layer.__module__}.{layer.__qualname__}",
        "claim": parts.claim,
        "seed": parts.seed,
        "metric": task.metric_name,
        "validation": validation_of(parts),
        "test": score,
        **by_length(task, scores),
        "chance": task.chance,
        "baselines": task.baselines,
        "solved": score is not None and task.is_solved(score),
        "solved_at": task.solved_at,
        "steps": steps,
        "best_step": parts.checkpoints.best_step,
        "diverged_at": None if diverged is None else diverged.step,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "steps_per_second": steps / seconds if steps else 0.0,
        "threads": torch.get_num_threads(),
        "processes": parts.trainer.world_size,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": trained_parameters(model),
        "frozen": parts.frozen,
        "init_from": parts.checkpoints.initial,
        "parity": parity.as_dict() if isinstance(parity, ParityReport) else parity,
        "facts": task.facts,
        "report": dict(task.report),
        "details": {},
        "versions": {"seqmodels": __version__}
        | {name: version(name) for name in ("torch", "lightning", "torchmetrics", "hydra-core", "omegaconf")}
        | {"python": platform.python_version()},
        "git": git_revision(),
    }


def trained_parameters(model: SequenceModel) -> int:
    """The number of parameters that training may change."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def validation_of(parts: Parts) -> float | None:
    """The task's metric on validation at the best step; None if training diverged before the first validation."""
    best, column = parts.checkpoints.best_step, f"val_{parts.task.metric_name}"
    rows = [] if best is None else [row for row in parts.metrics.read() if row.get(column)]
    return next((float(row[column]) for row in rows if int(row["step"]) + 1 == best), None)


def by_length(task: Task, scores: dict[str, float] | None) -> dict[str, Any]:
    """The test of a drawn task at each of its lengths, and the mean over the unseen ones."""
    if scores is None or not isinstance(task, DrawnTask):
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
    return joined(*zip(*pairs, strict=True))


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
