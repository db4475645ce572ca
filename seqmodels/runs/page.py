"""What the page of a run shows, gathered from its folder, which may come from anyone.

What is missing, damaged or not trusted is left out, and a note on the page says why. Files are read with
`seqmodels.untrusted`. A task is built only if it belongs to seqmodels, has an ordinary size, and reads no files except
those of this package.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf
from torch import Tensor

from seqmodels.batches import Batches, generator_for, joined
from seqmodels.checks import UserError
from seqmodels.config import instantiate, target_of
from seqmodels.config.again import command_of
from seqmodels.config.identity import flat
from seqmodels.files import write_whole
from seqmodels.lens import known_of, look
from seqmodels.lens.look import is_recurrent
from seqmodels.model import SequenceModel
from seqmodels.report.page.run import RunContent, run_page
from seqmodels.report.place import LARGEST_SCORE
from seqmodels.restore import load_run, reserved_in, within
from seqmodels.runs.history import read_history
from seqmodels.tasks import DrawnTask, Task
from seqmodels.untrusted.reading import (
    CONFIG_LIMIT,
    RunFolderError,
    printable,
    read_config,
    read_result,
    run_folder_errors,
)

POINTS = 300
"""The most points of a curve."""
FILES = 200
"""The most files that are listed."""
LARGEST_SETTING, LONGEST_LIST = 5_000, 50
"""The largest number and the longest list among the settings of a task that is built for a page."""
WEIGHTS = 5_000_000
"""The most weights of a model whose answers and states are shown."""
SEQUENCES, STEPS = 64, 64
"""How many sequences the lens uses, and how long they are, if training had such lengths."""
LONGEST_SEQUENCE = 2_000
"""The most steps of a sequence that is shown."""


def write_page(folder: Path, trusted: tuple[str, ...] = (), task: Task | None = None) -> Path:
    """Write page.html into a run folder; return its path.

    Args:
        folder: a run folder, even of a run that has not finished, has diverged, or lacks files.
        trusted: as for `load_run`; also modules of your own whose tasks the run may name.
        task: the run's task, if it has been built already.

    Raises:
        UserError: there is no run in the folder, or it cannot be written to.
    """
    page = run_page(content_of(folder, trusted, task))
    write_whole(folder / "page.html", page.encode())
    return folder / "page.html"


def content_of(folder: Path, trusted: tuple[str, ...] = (), task: Task | None = None) -> RunContent:
    """Gather what the page of a run shows.

    Raises:
        UserError: the folder holds neither a config.yaml nor a result.json.
    """
    if not (folder / "config.yaml").is_file() and not (folder / "result.json").is_file():
        raise UserError(f"expected a run folder, with a config.yaml, got {printable(folder)}")
    found, config = RunContent(str(folder), files=files_in(folder)), dict[str, Any]()
    with noting(found, ""):
        config = read_config(folder / "config.yaml")
        found.settings = flat(config)
    if config:
        with noting(found, "There is no command to reproduce the run: "):
            command = command_of(config)
            if printable(command, CONFIG_LIMIT) != command:
                raise UserError("its settings contain characters that cannot be printed")
            found.command = command
    if (folder / "result.json").exists():
        found.finished = True
        with noting(found, ""):
            found.result = checked(read_result(folder / "result.json"), found.notes)
    with noting(found, "There are no curves: "):
        found.metrics = thinned(read_history(folder / "metrics.csv", found.result.get("metric")))
    with noting(found, "There are no pictures of the model: "):
        model = load_run(folder, trusted=trusted)
        inspect(found, config, model, task or task_of(config, model, trusted))
    if found.result and found.result.get("validation") is None:
        found.result["validation"] = validation_in(found)
    return found


@contextmanager
def noting(found: RunContent, lacking: str) -> Iterator[None]:
    """Turn an error in the folder into a note that says what is missing."""
    try:
        yield
    except UserError as error:
        found.notes.append(f"{lacking}{error}")


def inspect(found: RunContent, config: dict[str, Any], model: SequenceModel, task: Task) -> None:
    """Add the predictions of a loaded model, and the measurements of the lens."""
    weights = sum(weight.numel() for weight in model.parameters())
    if weights > WEIGHTS:
        raise UserError(f"the model has {weights} weights, and a page shows models with at most {WEIGHTS}")
    model = model.float()
    seed = config.get("seed")
    seed = seed if isinstance(seed, int) and 0 <= seed < 2**32 else 0
    with run_folder_errors(Path("config.yaml")):
        found.predictions = (task, *answers(model, task, seed, found.settings.get("data.batch_size")))
        inputs, targets = sequences_of(task, seed)
        found.recurrent = is_recurrent(model)
        found.lens = look(model, inputs, targets, known_of(task, inputs, targets))


def task_of(config: dict[str, Any], model: SequenceModel, trusted: tuple[str, ...]) -> Task:
    """The task of a config, if a stranger may name it and it fits the model.

    Raises:
        UserError: it is not.
    """
    settings = config.get("task")
    if not isinstance(settings, dict):
        raise RunFolderError("config.yaml names no task")
    node = OmegaConf.create({"task": settings}).task
    target = str(settings.get("_target_"))
    modules = ("seqmodels.tasks", *trusted)
    found = target_of(node, "task") if within(target, modules) else None
    if not isinstance(found, type) or not issubclass(found, Task) or not within(found.__module__, modules):
        raise RunFolderError(
            f"task._target_={printable(target, 100)} is not a task of seqmodels; if you trust it, name its module: "
            "trusted=[your.module]"
        )
    for name in reserved_in({key: value for key, value in settings.items() if key != "_target_"}):
        raise RunFolderError(f"task.{printable(name)} would make Hydra build an object, which no run writes")
    for name, value in numbers_in(settings):
        if abs(value) > LARGEST_SETTING:
            raise RunFolderError(f"task.{printable(name)} should be at most {LARGEST_SETTING} for a page, got {value}")
    for name, value in settings.items():
        if isinstance(value, list) and len(value) > LONGEST_LIST:
            raise RunFolderError(f"task.{printable(name)} should have at most {LONGEST_LIST} entries, got {len(value)}")
    path = settings.get("path")
    if path is not None and (
        not isinstance(path, str) or Path(path).parts[:1] != ("data",) or ".." in Path(path).parts
    ):
        raise RunFolderError(f"task.path={printable(path, 100)} is not a file of seqmodels, and a page reads no others")
    task: Task = instantiate(node, "task")
    sizes = {"input_size": task.input_size, "output_size": task.output_size}
    sizes |= {"tokens": task.tokens, "every_step": task.every_step}
    for name, size in sizes.items():
        if model.arguments[name] != size:
            raise RunFolderError(f"the task has {name}={size}, and the model {name}={model.arguments[name]}")
    if isinstance(task, DrawnTask):  # one sequence is drawn before many are
        for length in {task.lengths.tests[0], length_of(task)}:
            steps = task.draw_for("test", 1, length, generator_for(0, "test", 0)).size(1)
            if steps > LONGEST_SEQUENCE:
                raise UserError(f"its sequences have {steps} steps, and a page shows at most {LONGEST_SEQUENCE}")
    return task


def numbers_in(settings: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers among settings, and in their lists."""
    for name, value in settings.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float):
                yield name, number


@torch.inference_mode()
def answers(model: SequenceModel, task: Task, seed: int, batch_size: Any) -> tuple[Tensor, Tensor]:
    """The model's answers to the test, and the targets; for drawn tasks, of the first batch only."""
    size = min(batch_size, 512) if isinstance(batch_size, int) and batch_size > 0 else 128
    examples = task.examples("test")
    count = 1 if examples is None else min(math.ceil(examples / size), 20)
    batches = Batches(task, "test", seed, size, range(count))
    pairs = [(model(inputs, *lengths), targets) for inputs, targets, *lengths in map(batches.__getitem__, range(count))]
    return joined(*zip(*pairs, strict=True))


def sequences_of(task: Task, seed: int) -> tuple[Tensor, Tensor]:
    """The test sequences that the lens uses, of a length that training had."""
    generator = generator_for(seed, "test", 0)
    if not isinstance(task, DrawnTask):
        inputs, targets, *lengths = task.batch("test", 0, SEQUENCES, generator)
        steps = int(lengths[0].min()) if lengths else inputs.size(1)  # without padding
        return inputs[:, :steps], targets[:, :steps] if task.every_step else targets
    inputs = task.draw_for("test", SEQUENCES, length_of(task), generator)
    return inputs, task.solve(inputs)


def length_of(task: DrawnTask) -> int:
    """The length that the lens uses: `STEPS`, or the nearest that training had."""
    return max(task.lengths.shortest, min(task.lengths.longest, STEPS))


def thinned(metrics: pd.DataFrame) -> pd.DataFrame:
    """The metrics with at most about `POINTS` values of each: the smallest and largest in equal parts of the steps."""
    kept = [part_of(metrics[["step", name]].dropna()) for name in metrics.columns if name != "step"]
    return pd.concat(kept, ignore_index=True) if kept else metrics


def part_of(curve: pd.DataFrame) -> pd.DataFrame:
    """The rows of a curve that show its shape."""
    if len(curve) <= POINTS:
        return curve
    values = curve.iloc[:, 1].to_numpy()
    parts = np.array_split(np.arange(len(curve)), POINTS // 2)
    extremes = {part[choose(values[part])] for part in parts for choose in (np.argmin, np.argmax)}
    return curve.iloc[sorted({0, len(curve) - 1, *map(int, extremes)})]


def validation_in(found: RunContent) -> float | None:
    """The metric on validation at the best step, of a run of an earlier version."""
    name, best = f"val_{found.result.get('metric')}", found.result.get("best_step")
    if found.metrics is None or name not in found.metrics or best is None:
        return None
    values = found.metrics.loc[found.metrics["step"] == best - 1, name].dropna()
    return float(values.iloc[0]) if len(values) else None


NUMBER: tuple[type, ...] = (int, float)

TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(["model", "task", "layer", "claim", "metric", "verdict", "git", "finished"], (str,)),
    **dict.fromkeys(["seed", "steps", "best_step", "diverged_at", "threads", "processes"], (int,)),
    **dict.fromkeys(["parameters", "trained_parameters"], (int,)),
    **dict.fromkeys(["test", "validation", "unseen", "chance", "solved_at", "seconds", "steps_per_second"], NUMBER),
    "solved": (bool,),
}
"""The types of the plain entries of a result; each may be null."""

ALWAYS = ("task", "model", "seed", "metric", "test", "chance", "solved", "steps", "seconds", "parameters")
"""The entries that every version writes."""

CONTAINERS: dict[str, Callable[[Any], bool]] = {
    "baselines": lambda value: isinstance(value, dict) and all(map(is_number, value.values())),
    "versions": lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
    "frozen": lambda value: isinstance(value, list) and all(isinstance(name, str) for name in value),
    "report": lambda value: are_tables(value),
    "details": lambda value: are_tables(value),
    "trained_lengths": lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_number, value)),
    "lengths": lambda value: (
        isinstance(value, list)
        and all(
            isinstance(row, dict)
            and all(is_number(row.get(name)) for name in ("length", "test", "chance"))
            and isinstance(row.get("unseen"), bool)
            for row in value
        )
    ),
    "parity": lambda value: (
        isinstance(value, str)
        or (
            isinstance(value, dict)
            and {"layer", "reference", "worst", "tolerance"} <= value.keys()
            and isinstance(value.get("deviations"), list)
            and all(
                isinstance(row, dict) and {"tensor", "absolute", "relative", "note"} <= row.keys()
                for row in value["deviations"]
            )
        )
    ),
}
"""Whether a value is as a run writes it, for the entries that are lists or mappings."""


def checked(result: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """The entries of a result that are as a run writes them; a note names the others."""
    kept: dict[str, Any] = {"baselines": {}, "versions": {}}
    if missing := [name for name in ALWAYS if name not in result]:
        notes.append(f"result.json is damaged: it lacks {', '.join(missing)}")
    for name, value in result.items():
        if value is None:
            continue
        if name in TYPES:
            types = TYPES[name]
            right = is_number(value) if float in types else type(value) in types
            right = right and (types != (int,) or abs(value) < 2**63)
        elif name in CONTAINERS:
            right = CONTAINERS[name](value)
        else:
            continue
        if right:
            kept[name] = plain_text(value)
        else:
            notes.append(f"result.json: {name} is not as a run writes it, got {printable(repr(value), 60)}")
    return kept


def are_tables(value: Any) -> bool:
    """Whether a value holds tables by their titles: rows with the same columns of numbers and texts, where a cell may
    be empty."""
    return isinstance(value, dict) and all(
        isinstance(rows, list)
        and all(
            isinstance(row, dict)
            and row.keys() == rows[0].keys()
            and all(cell is None or isinstance(cell, str) or is_number(cell) for cell in row.values())
            for row in rows
        )
        for rows in value.values()
    )


def plain_text(value: Any) -> Any:
    """A value in which all strings are printable."""
    if isinstance(value, dict):
        return {printable(name): plain_text(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain_text(inner) for inner in value]
    return printable(value) if isinstance(value, str) else value


def is_number(value: Any) -> bool:
    """Whether a value is a finite number of ordinary size."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) < LARGEST_SCORE if isinstance(value, float) else abs(value) < 2**63


def files_in(folder: Path) -> list[tuple[str, int]]:
    """The names and sizes of the first files of a folder and of the folders in it, without hidden ones and links."""
    found: list[tuple[str, int]] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(place, name)
            if len(found) == FILES:
                return found
            if not name.startswith(".") and name != "page.html" and not file.is_symlink() and file.is_file():
                found.append((file.relative_to(folder).as_posix(), file.stat().st_size))
    return found
