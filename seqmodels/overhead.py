"""What a whole run costs beside its arithmetic: train.py against a loop written by hand for the same job.

    python -m seqmodels.overhead model=manual_rnn task=parity_check trainer.max_steps=300 rounds=5

Three programs train from the same seed, one after the other in each round: the loop with the reference of the layer
(the layer itself where it names none), the loop with the layer, and Lightning with the layer, with all that train.py
gives it. All read the same batches, take the same optimizer, clip, validate at the same interval and keep the losses at
the same interval and the best weights in a file. The losses of the last two have to agree. What a part of Lightning
takes is what a run without it saves, in the same round.
"""

import csv
import gc
import io
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from torch import nn

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
from seqmodels.checks import check_whole
from seqmodels.config import UserError, arguments_of, command, target_of
from seqmodels.data import SequenceData
from seqmodels.learner import Learner
from seqmodels.signatures import shared_arguments

WARM_UPS = 2

TOLERANCE = 1e-5
"""Largest relative difference between losses of the loop and of Lightning at the same step."""


@dataclass(frozen=True)
class Training:
    """One training: how long it took, its parts if they are known, and the losses it kept."""

    seconds: float
    parts: dict[str, float]
    losses: dict[str, list[float]]


class Clock:
    """Adds the time since the last look at it to a part. On a GPU that is the host's time, which may run ahead."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = defaultdict(float)
        self.started = self.last = time.perf_counter()

    def charge(self, part: str) -> None:
        now = time.perf_counter()
        self.parts[part] += now - self.last
        self.last = now


def train_by_hand(config: DictConfig, device: torch.device, folder: Path) -> Training:
    """The loop one would write without Lightning, with nothing in it that the job does not need."""
    torch.manual_seed(config.seed)
    task = build_task(config)
    model = build_model(config, task).to(device)
    make_optimizer, make_scheduler = build_optimizer(config)
    data = build_data(config, task)
    metric = task.metric().to(device)
    losses: dict[str, list[float]] = {"train_loss": [], "val_loss": []}
    settings = config.trainer
    limit = settings.limit_val_batches
    best = math.inf

    clock = Clock()
    optimizer = make_optimizer(model.parameters())
    scheduler = None if make_scheduler is None else make_scheduler(optimizer)
    parameters = list(model.parameters())
    training, validation = data.batches("train"), data.batches("val")
    val_batches = limit if isinstance(limit, int) else int(limit * len(validation))
    for step in range(1, settings.max_steps + 1):
        inputs, targets, *lengths = (part.to(device) for part in training[step - 1])
        clock.charge("drawing batches")
        loss = task.loss(model(inputs, *lengths), targets)
        optimizer.zero_grad()
        loss.backward()
        clock.charge("forward and backward")
        if settings.gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(parameters, settings.gradient_clip_val)
        clock.charge("clipping")
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        clock.charge("optimizer")
        if step % min(settings.log_every_n_steps, settings.max_steps) == 0:
            losses["train_loss"].append(loss.item())
        if step % min(settings.val_check_interval, settings.max_steps) == 0:
            model.eval()
            with torch.inference_mode():
                total, scored = torch.zeros((), device=device), 0
                for index in range(val_batches):
                    inputs, targets, *lengths = (part.to(device) for part in validation[index])
                    outputs = model(inputs, *lengths)
                    answers, scored_targets = task.scored(outputs, targets)
                    metric.update(answers, scored_targets)
                    total += task.loss(outputs, targets) * len(scored_targets)
                    scored += len(scored_targets)
            model.train()
            losses["val_loss"].append(total.item() / scored)
            metric.compute().item()
            metric.reset()
            if losses["val_loss"][-1] < best:
                best = losses["val_loss"][-1]
                torch.save(model.state_dict(), folder / "best.pt")
            clock.charge("validation, best weights")
    wait_for(device)
    clock.charge("forward and backward")
    return Training(clock.last - clock.started, clock.parts, losses)


def train_as_configured(config: DictConfig, folder: Path, without: type | None = None) -> Training:
    """What train.py does between its proof and its test, without callbacks or loggers of a type if one is named."""
    torch.manual_seed(config.seed)
    learner, data, trainer = build(config, folder)
    if without is not None:
        trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, without)]  # type: ignore[attr-defined]
        trainer.loggers = [logger for logger in trainer.loggers if not isinstance(logger, without)]
    with redirect_stdout(io.StringIO()):  # the progress bar writes as to a terminal that nobody sees
        started = time.perf_counter()
        trainer.fit(learner, data)
        wait_for(trainer.strategy.root_device)
        seconds = time.perf_counter() - started
    losses: dict[str, list[float]] = {"train_loss": [], "val_loss": []}
    if (folder / "metrics.csv").exists():
        with (folder / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                for name in losses:
                    losses[name] += [float(row[name])] if row.get(name) else []
    return Training(seconds, {}, losses)


def build(config: DictConfig, folder: Path) -> tuple[Learner, SequenceData, pl.Trainer]:
    task = build_task(config)
    learner = Learner(build_model(config, task), task, *build_optimizer(config))
    try_optimizer(config, learner)
    return learner, build_data(config, task), build_trainer(config, folder)


def name_of(config: DictConfig) -> str:
    return str(config.model._target_).replace("torch.nn.modules.rnn", "torch.nn")


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def with_reference(config: DictConfig) -> DictConfig:
    """The config with the layer replaced by the one that it reproduces, if it says so."""
    reference = getattr(target_of(config.model, "model"), "reference", None)
    if reference is None:
        return config
    config = config.copy()
    target = {"_target_": f"{reference.__module__}.{reference.__qualname__}"}
    config.model = target | shared_arguments(reference, arguments_of(config.model))
    return config


def largest_difference(ours: Training, theirs: Training) -> float:
    """Between the losses of two trainings at the same steps, relative; infinite where they kept different ones."""
    if any(len(ours.losses[name]) != len(theirs.losses[name]) for name in ours.losses):
        return math.inf
    pairs = [pair for name in ours.losses for pair in zip(ours.losses[name], theirs.losses[name], strict=True)]
    return max((abs(a - b) / max(abs(b), 1e-12) for a, b in pairs), default=0.0)


def rounds(config: DictConfig, programs: dict[str, Callable[[Path], Training]]) -> dict[str, list[Training]]:
    """Each program once a round, in an empty folder of its own; without the rounds that warm up.

    Every other round goes backwards, so that no program always comes after the same one.
    """
    done: dict[str, list[Training]] = {name: [] for name in programs}
    for number in range(WARM_UPS + config.rounds):
        for name, program in list(programs.items())[:: -1 if number % 2 else 1]:
            gc.collect()  # nobody pays for what another left behind
            with TemporaryDirectory() as folder:
                training = program(Path(folder))
            if number >= WARM_UPS:
                done[name].append(training)
    return done


def median_ms(config: DictConfig, seconds: list[float]) -> float:
    """The median over rounds, in milliseconds a step."""
    return 1000 * statistics.median(seconds) / config.trainer.max_steps


def speed_table(config: DictConfig, programs: dict[str, list[Training]]) -> Table:
    table = Table(title=f"{config.trainer.max_steps} steps of {config.model_name} on {config.task_name}")
    for name in ("program", "steps/s", "ms per step", "ratio"):
        table.add_column(name, justify="left" if name == "program" else "right")
    first = next(iter(programs.values()))
    for name, trainings in programs.items():
        step = median_ms(config, [training.seconds for training in trainings])
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(first, trainings, strict=True))
        table.add_row(name, f"{1000 / step:.0f}", f"{step:.3f}", f"{ratio:.2f}")
    return table


def parts_table(
    config: DictConfig, by_hand: list[Training], lightning: list[Training], without: dict[str, list[Training]]
) -> Table:
    """What a step of the loop consists of, and what comes on top of it in Lightning, in milliseconds."""
    table = Table(title="where a step of train.py goes")
    table.add_column("part")
    table.add_column("ms per step", justify="right")
    for part in by_hand[0].parts:
        table.add_row(part, f"{median_ms(config, [training.parts[part] for training in by_hand]):.3f}")
    table.add_section()
    extra = [more.seconds - less.seconds for more, less in zip(lightning, by_hand, strict=True)]
    rest = median_ms(config, extra)
    table.add_row("Lightning on top of these", f"{rest:.3f}")
    for part, trainings in without.items():
        saved = [more.seconds - less.seconds for more, less in zip(lightning, trainings, strict=True)]
        table.add_row(f"  {part}", f"{median_ms(config, saved):.3f}")
        rest -= median_ms(config, saved)
    table.add_row("  the rest", f"{rest:.3f}")
    return table


@command("overhead")
def main(config: DictConfig, folder: Path) -> None:
    quieten()
    check_settings(config)
    check(config)
    with TemporaryDirectory() as empty:
        device = build(config, Path(empty))[2].strategy.root_device
    reference = with_reference(config)
    programs: dict[str, Callable[[Path], Training]] = {
        f"by hand, {name_of(reference)}": partial(train_by_hand, reference, device),
        f"by hand, {config.model_name}": partial(train_by_hand, config, device),
        f"train.py, {config.model_name}": partial(train_as_configured, config),
    }
    parts = {"progress bar": ProgressBar, "loggers": Logger, "checkpoints": Checkpoint}
    stripped = {name: partial(train_as_configured, config, without=part) for name, part in parts.items()}
    done = rounds(config, programs | stripped)

    _, ours, lightning = (done[name] for name in programs)
    difference = max(map(largest_difference, ours, lightning))
    console = Console()
    console.print(f"{device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}; medians of", end=" ")
    console.print(f"{config.rounds} rounds")
    console.print(f"Losses by hand and of train.py differ by {difference:.1e} at most")
    if not difference <= TOLERANCE:
        raise UserError(f"the loop and Lightning do not do the same: losses differ by {difference:.1e}, relative")
    console.print(speed_table(config, {name: done[name] for name in programs}))
    console.print(parts_table(config, ours, lightning, {name: done[name] for name in stripped}))


def check(config: DictConfig) -> None:
    """The settings that this command reads, and those that the loop has no counterpart to."""
    try:
        check_whole("rounds", config.rounds, 1)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    for name, only in {"precision": "32-true", "accumulate_grad_batches": 1, "devices": 1}.items():
        if config.trainer[name] != only:
            raise UserError(f"trainer.{name} should be {only} here: the loop does nothing else")


if __name__ == "__main__":
    main()
