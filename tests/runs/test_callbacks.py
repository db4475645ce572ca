"""What a run shows while it trains: a bar that fits into the terminal, or lines for a file."""

import fcntl
import math
import os
import pty
import re
import select
import struct
import sys
import termios
from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

from seqmodels.config import compose
from seqmodels.report.verdict import chance_in_validation
from seqmodels.runs.build import build, build_task
from seqmodels.runs.callbacks import StepsBar, StepsLines, line
from seqmodels.runs.run import run

VALUES = {
    "step": "99999", "steps": "100000", "rate": "298", "left": "05:02", "loss": "0.0005952", "val_loss": "0.01234",
    "metric": "accuracy", "score": "0.83", "scale": "(chance 0.5, solved 0.99)",
}  # fmt: skip


@pytest.mark.parametrize("columns", range(30, 160, 7))
def test_the_bar_never_exceeds_the_terminal(columns):
    for values in (
        VALUES,
        VALUES | {"metric": "cross_entropy", "left": "12:30:00", "scale": "(chance 0.0967, solved 0.05671)"},
    ):
        written = line(values, StepsBar.FORMS, columns)
        shown = tqdm.format_meter(99999, 100000, 60, ncols=columns, bar_format=written)
        assert len(shown) <= columns
        assert shown.endswith(written.rpartition("}")[2].lstrip("%| "))  # nothing is cut off at the end


def test_80_columns_hold_speed_time_left_loss_and_the_score_beside_chance():
    shown = tqdm.format_meter(780, 1500, 3, ncols=80, bar_format=line(VALUES, StepsBar.FORMS, 80))
    assert shown == "52% 298/s, 05:02 left, loss 0.0005952, accuracy 0.83 (chance 0.5, solved 0.99)"
    wide = tqdm.format_meter(780, 1500, 3, ncols=130, bar_format=line(VALUES, StepsBar.FORMS, 130))
    assert "99999/100000, 298 steps/s, 05:02 left, train_loss 0.0005952, val_accuracy 0.83 (chance 0.5" in wide


def test_what_is_not_known_yet_is_left_out():
    assert line({"metric": "accuracy", "step": "0", "steps": "9"}, StepsBar.FORMS, 80).endswith("| 0/9")


def test_a_terminal_that_does_not_tell_its_size_counts_as_80_columns(monkeypatch):
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    monkeypatch.delenv("COLUMNS", raising=False)
    trainer = SimpleNamespace(global_step=5, max_steps=20, is_global_zero=True, num_test_batches=[7])
    with open(writer, "w") as terminal:
        assert os.get_terminal_size(writer).columns == 0
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "__stdout__", terminal)
        progress = StepsBar()
        progress.task = SimpleNamespace(metric_name="accuracy")
        progress.on_train_start(trainer, None)
        progress.bar.close()
        progress.on_test_start(trainer, None)
        progress.bar.close()
        written = b""
        while b"0/7" not in written and select.select([reader], [], [], 10)[0]:  # a terminal hands out parts
            written += os.read(reader, 10000)
    os.close(reader)
    shown = written.decode()
    assert re.search(r"\r 25%\|█+\S? +\| 5/20", shown)
    assert re.search(r"\rTesting:   0%\|.*\| 0/7", shown)
    assert max(map(len, shown.split("\r"))) == 80


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr("seqmodels.runs.callbacks.time.monotonic", lambda: self.now)


def test_the_rate_is_that_of_the_last_interval_and_the_time_left_follows_from_it(monkeypatch, capsys):
    clock, progress = Clock(monkeypatch), StepsLines()
    task = build_task(compose("task=binary_multiplication").task)
    trainer = SimpleNamespace(
        global_step=40, max_steps=1000, accumulate_grad_batches=2, is_global_zero=True,
        callback_metrics={"val_loss": torch.tensor(0.5), "val_accuracy": torch.tensor(0.75)},
    )  # fmt: skip
    progress.setup(trainer, SimpleNamespace(task=task), "fit")
    progress.on_train_start(trainer, None)
    progress.on_train_batch_end(trainer, None, {"loss": torch.tensor(0.3)})
    clock.now, trainer.global_step = 110.0, 140
    progress.on_validation_end(trainer, None)
    clock.now, trainer.global_step = 120.0, 190
    progress.on_validation_end(trainer, None)
    chance = f"{task.chance_at(40):.4g}"
    assert chance != f"{task.chance:.4g}"  # which is that of the test, at length 500
    scores = f"train_loss 0.6  val_loss 0.5  val_accuracy 0.75 (chance {chance}, solved 0.99)"
    assert capsys.readouterr().out.splitlines() == [
        f"step 140 of 1000  {scores}  10 steps/s  01:26 left",
        f"step 190 of 1000  {scores}  5 steps/s  02:42 left",
    ]


@pytest.mark.parametrize("name", ["sunspots", "adding"])
def test_chance_in_validation(name):
    task = build_task(compose(f"task={name}").task)
    assert chance_in_validation(task) == task.chance  # tested at the length of validation, or on fixed data


def test_a_run_in_a_terminal_shows_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    words = ["trainer=smoke", "logger=none", "parity=off", "data.batch_size=4", "trainer.accumulate_grad_batches=2"]
    folder = tmp_path / "run"
    folder.mkdir()
    run(build(compose(*words), folder), folder)
    printed = capsys.readouterr().out
    bar = printed[: printed.index("Testing")].rstrip().split("\r")
    scores = r"train_loss (\S+), val_accuracy \S+ \(chance 0.5, solved 0.99\)"
    last = re.fullmatch(rf"100% 20/20, [\d.]+ steps/s, 00:00 left, {scores}", bar[-1].strip())
    assert last, bar[-1]
    assert math.isfinite(float(last[1]))
    assert all("\n" not in update for update in bar[1:])
    assert "it/s" not in printed.rpartition("\r")[2]  # the bar of the test is gone at the end
