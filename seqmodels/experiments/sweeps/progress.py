"""The progress of a sweep: a live table in a terminal, otherwise a line for each run that ends."""

import csv
import io
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from seqmodels.experiments.sweeps.sweep import Run, Sweep
from seqmodels.report.tables import significant
from seqmodels.untrusted.reading import printable

TAIL = 4096
"""Bytes that are read from the end of metrics.csv to find the last step and validation."""


class SweepProgress:
    """Shows which runs of a sweep are running, and how many are done."""

    def __init__(self, sweep: Sweep, jobs: int, console: Console) -> None:
        self.sweep = sweep
        self.jobs = jobs
        self.console = console
        moves = console.is_terminal and not console.is_dumb_terminal  # the cursor, to draw over the last table
        self.live = Live(console=console, auto_refresh=False, transient=True) if moves else None
        self.to_do = 0
        self.number = 0
        self.shown = 0.0

    def __enter__(self) -> "SweepProgress":
        self.to_do = sum(run.state not in ("done", "failed") for run in self.sweep.runs)
        if self.live is not None:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live is not None:
            self.live.stop()

    def ended(self, run: Run) -> None:
        """Say how a run has ended; in a terminal, only if it has failed, because the table counts the others."""
        self.number += 1
        if self.live is None or run.state == "failed":
            line = f"[{self.number}/{self.to_do}] {run.name}: {outcome_of(run)}"
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self) -> None:
        """Draw the table again, at most twice a second."""
        if self.live is not None and time.monotonic() - self.shown > 0.5:
            self.shown = time.monotonic()
            self.live.update(self.table(), refresh=True)

    def stopping(self, count: int) -> None:
        """Say that the running runs save their state, and remove the live table."""
        if self.live is not None:
            self.live.stop()
        runs = "1 run to save its" if count == 1 else f"{count} runs to save their"
        text = f"waiting for {runs} state; Ctrl-C again ends {'it' if count == 1 else 'them'} immediately"
        self.console.print(text, soft_wrap=True)

    def table(self) -> Group:
        counts = {state: self.sweep.count(state) for state in ("done", "running", "failed", "waiting")}
        words = [f"{count} {state}" for state, count in counts.items() if count or state != "failed"]
        running = [run for run in self.sweep.runs if run.state == "running"]
        progress = [progress_of(run) for run in running]
        left = self.seconds_left([share for share, _, _ in progress])
        summary = Text(", ".join(words) + ("" if left is None else f", {duration(left)} left"), style="bold")
        table = Table(box=None, show_header=False, pad_edge=False)
        for run, (_, steps, score) in zip(running, progress, strict=True):
            table.add_row(Text(printable(run.name, 100)), Text(steps, justify="right"), Text(score))
        return Group(summary, table)

    def seconds_left(self, shares: list[float]) -> float | None:
        """The time left, if the other runs take as long as those completed so far; None if there are none."""
        times = self.sweep.seconds.values()
        if not times:
            return None
        runs = self.sweep.count("waiting") + sum(1 - share for share in shares)
        return runs * sum(times) / len(times) / self.jobs


def console_of_sweep() -> Console:
    """A console for the output of a sweep: 160 columns outside a terminal, 80 in one that does not know its size."""
    if not sys.stdout.isatty():
        return Console(width=160)
    console = Console()
    return console if console.width and console.height else Console(width=console.width or 80, height=25)


def outcome_of(run: Run) -> str:
    """How a run has ended, in one line."""
    if run.state != "done":
        return printable(run.message or run.state, 1000)
    result = run.result()
    assert result is not None, "a run that is done has a result"
    if result["diverged_at"] is not None:
        return f"diverged at step {result['diverged_at']}"
    return f"test {printable(result['metric'], 50)} {significant(result['test'])}, {result['seconds']:.0f} s"


def progress_of(run: Run) -> tuple[float, str, str]:
    """The share of a run's steps that are done, the steps in words, and the last validation score."""
    assert run.config is not None, "a run without a config does not run"
    assert run.folder is not None, "it has no folder, either"
    step, score = last_row(run.folder / "metrics.csv")
    most = run.config.trainer.max_steps
    step = min(step, most)  # the row of the test comes after the last step
    return step / most, f"step {step} of {most}", score


def last_row(file: Path) -> tuple[int, str]:
    """The number of steps in metrics.csv, and the last validation score; 0 and an empty text if there are none yet."""
    try:
        with file.open("rb") as opened:
            header = opened.readline()
            start = opened.tell()
            opened.seek(max(start, opened.seek(0, io.SEEK_END) - TAIL))
            text, _, _ = opened.read().decode(errors="replace").rpartition("\n")  # the last line may be half-written
        rows: list[dict[str, Any]] = list(csv.DictReader(text.splitlines()[-20:], header.decode().strip().split(",")))
        steps = [int(row["step"]) for row in rows if (row.get("step") or "").isdigit()]
        names = [name for name in rows[-1] if name and name.startswith("val_") and name != "val_loss"] if rows else []
        scores = [(name, row[name]) for row in rows for name in names if row.get(name)]
        score = f"{scores[-1][0]} {significant(float(scores[-1][1]))}" if scores else ""
        return (steps[-1] + 1 if steps else 0), printable(score, 50)
    except (OSError, ValueError):
        return 0, ""


def duration(seconds: float) -> str:
    """A time in one or two units: "40 s", "3 min", "2 h 5 min"."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
