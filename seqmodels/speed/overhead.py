"""A whole run against a loop written by hand for the same job.

Both train from the same seed on the same batches, with the same optimizer and clipping; both validate and keep the
losses at the same intervals, and keep the best weights in a file. Their losses have to agree.
"""

import csv
import gc
import io
import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from seqmodels.runs.build import Parts

WARM_UPS = 2


@dataclass(frozen=True)
class Training:
    """One training: its seconds, the seconds of its parts if they are known, and the losses it kept."""

    seconds: float
    parts: dict[str, float]
    losses: dict[str, list[float]]


class Clock:
    """Charges the time since the last charge to a part. On a GPU this is the host's time, which may run ahead."""

    def __init__(self) -> None:
        self.parts: dict[str, float] = defaultdict(float)
        self.started = self.last = time.perf_counter()

    def charge(self, part: str) -> None:
        now = time.perf_counter()
        self.parts[part] += now - self.last
        self.last = now


def train_by_hand(parts: Parts, folder: Path) -> Training:
    """Train with the loop one would write without Lightning, which does only what the job needs."""
    task, data, learner = parts.task, parts.data, parts.learner
    trainer: Any = parts.trainer
    device = trainer.strategy.root_device
    model = parts.model.to(device)
    metric = task.metric().to(device)
    losses: dict[str, list[float]] = {"train_loss": [], "val_loss": []}
    training, validation = data.batches("train"), data.batches("val")
    limit: float = trainer.limit_val_batches
    val_batches = limit if isinstance(limit, int) else int(limit * len(validation))
    best = math.inf

    clock = Clock()
    optimizer = learner.optimizer(model.parameters())
    scheduler = None if learner.scheduler is None else learner.scheduler(optimizer)
    parameters = list(model.parameters())
    for step in range(1, trainer.max_steps + 1):
        inputs, targets, *lengths = (part.to(device) for part in training[step - 1])
        clock.charge("drawing batches")
        loss = task.loss(model(inputs, *lengths), targets)
        optimizer.zero_grad()
        loss.backward()
        clock.charge("forward and backward")
        if trainer.gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(parameters, trainer.gradient_clip_val)
        clock.charge("clipping")
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        clock.charge("optimizer")
        if step % trainer.log_every_n_steps == 0:
            losses["train_loss"].append(loss.item())
        if step % int(trainer.val_check_interval) == 0:
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


def train_by_lightning(parts: Parts, folder: Path, without: Any = None) -> Training:
    """Train as train.py does between its proof and its test, without callbacks and loggers of some types."""
    trainer = parts.trainer
    if without is not None:
        trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, without)]  # type: ignore[attr-defined]
        trainer.loggers = [logger for logger in trainer.loggers if not isinstance(logger, without)]
    with redirect_stdout(io.StringIO()):  # the progress bar is drawn, but not shown
        started = time.perf_counter()
        trainer.fit(parts.learner, parts.data)
        wait_for(trainer.strategy.root_device)
        seconds = time.perf_counter() - started
    losses: dict[str, list[float]] = {"train_loss": [], "val_loss": []}
    if (folder / "metrics.csv").exists():
        with (folder / "metrics.csv").open() as file:
            for row in csv.DictReader(file):
                for name in losses:
                    losses[name] += [float(row[name])] if row.get(name) else []
    return Training(seconds, {}, losses)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def largest_difference(ours: Training, theirs: Training) -> float:
    """The largest relative difference between the losses of two trainings; infinite if they kept different ones."""
    if any(len(ours.losses[name]) != len(theirs.losses[name]) for name in ours.losses):
        return math.inf
    pairs = [pair for name in ours.losses for pair in zip(ours.losses[name], theirs.losses[name], strict=True)]
    return max((abs(a - b) / max(abs(b), 1e-12) for a, b in pairs), default=0.0)


def take_turns(programs: dict[str, Callable[[Path], Training]], rounds: int) -> dict[str, list[Training]]:
    """Run each program once a round, in an empty folder of its own; the first `WARM_UPS` rounds are left out.

    Every other round goes backwards, so that no program always follows the same one.
    """
    done: dict[str, list[Training]] = {name: [] for name in programs}
    for number in range(WARM_UPS + rounds):
        for name, program in list(programs.items())[:: -1 if number % 2 else 1]:
            gc.collect()  # so that no program spends time on the garbage of another
            with TemporaryDirectory() as folder:
                training = program(Path(folder))
            if number >= WARM_UPS:
                done[name].append(training)
    return done
