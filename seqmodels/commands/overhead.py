"""`seqmodels overhead`: time train.py against a hand-written loop of the same job.

In each round three programs train one after the other: the loop with the layer's reference (the layer itself if it
names none), the loop with the layer, and Lightning with the layer and everything that train.py adds. The cost of a
part of Lightning is the time that a run without it saves in the same round.
"""

import statistics
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from seqmodels.checks import UserError, as_user_errors, check_whole
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of, target_of
from seqmodels.signatures import public_name, shared_arguments

if TYPE_CHECKING:
    from seqmodels.speed.overhead import Training

TOLERANCE = 1e-5
"""The largest relative difference between the losses of the loop and of Lightning."""


@command("overhead")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        import torch
        from lightning.pytorch.loggers import Logger

        from seqmodels.report.tables import counted
        from seqmodels.runs.build import build
        from seqmodels.runs.callbacks import StepsBar, StepsLines
        from seqmodels.runs.checkpoints import Checkpoints
        from seqmodels.speed.overhead import largest_difference, take_turns, train_by_hand, train_by_lightning

    check(config)
    device = build(config, folder).trainer.strategy.root_device
    reference = with_reference(config)

    def by_hand(config: DictConfig, folder: Path) -> "Training":
        return train_by_hand(build(config, folder), folder)

    def by_lightning(folder: Path, without: Any = None) -> "Training":
        return train_by_lightning(build(config, folder), folder, without)

    programs: dict[str, Any] = {
        f"by hand, {reference.model._target_}": partial(by_hand, reference),
        f"by hand, {config.model_name}": partial(by_hand, config),
        f"train.py, {config.model_name}": by_lightning,
    }
    parts = {"progress": (StepsBar, StepsLines), "loggers": Logger, "checkpoints": Checkpoints}
    stripped = {name: partial(by_lightning, without=part) for name, part in parts.items()}
    done = take_turns(programs | stripped, config.rounds)

    _, ours, lightning = (done[name] for name in programs)
    difference = max(map(largest_difference, ours, lightning))
    console = Console()
    threads = counted(torch.get_num_threads(), "thread")
    console.print(f"{device.type}, {threads}, torch {torch.__version__}; medians of {counted(config.rounds, 'round')}")
    console.print(f"The losses by hand and of train.py differ by at most {difference:.1e}")
    if not difference <= TOLERANCE:
        raise UserError(f"the losses should be equal up to {TOLERANCE:.0e}, relative; they differ by {difference:.1e}")
    console.print(speed_table(config, {name: done[name] for name in programs}))
    console.print(parts_table(config, ours, lightning, {name: done[name] for name in stripped}))


def check(config: DictConfig) -> None:
    """Refuse wrong values of `rounds`, and settings that the loop does not support."""
    with as_user_errors():
        check_whole("rounds", config.rounds, 1)
    for name, only in {"precision": "32-true", "accumulate_grad_batches": 1, "devices": 1}.items():
        if config.trainer[name] != only:
            raise UserError(f"trainer.{name} should be {only} here: the hand-written loop supports nothing else")


def with_reference(config: DictConfig) -> DictConfig:
    """The config with the layer replaced by its reference, if it names one."""
    reference = getattr(target_of(config.model, "model"), "reference", None)
    if reference is None:
        return config
    config = config.copy()
    config.model = {"_target_": public_name(reference)} | shared_arguments(reference, arguments_of(config.model))
    return config


def median_ms(config: DictConfig, seconds: list[float]) -> float:
    """The median over the rounds, in milliseconds per step."""
    return 1000 * statistics.median(seconds) / config.trainer.max_steps


def speed_table(config: DictConfig, programs: "dict[str, list[Training]]") -> Table:
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
    config: DictConfig, by_hand: "list[Training]", lightning: "list[Training]", without: "dict[str, list[Training]]"
) -> Table:
    """The parts of a step of the loop, and what Lightning adds to them, in milliseconds."""
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
