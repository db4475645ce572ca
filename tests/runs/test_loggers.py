"""Trackers: what they are given is read back by their own means and equals metrics.csv."""

import csv
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from seqmodels.model import SequenceModel
from seqmodels.runs.loggers import Tracker

WORDS = [
    "trainer=smoke", "trainer.max_steps=40", "model.hidden_size=4", "data.batch_size=8", "checkpoint.steps=7",
    "parity=off",
]  # fmt: skip
TRACKERS = ["wandb", "mlflow", "trackio"]


def logged(folder):
    """What metrics.csv holds: the steps and values of each metric, in order."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name != "step"]
    return {name: [(int(row["step"]), float(row[name])) for row in rows if row[name]] for name in names}


def from_tensorboard(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    names = [name for name in events.Tags()["scalars"] if name != "epoch"]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def from_wandb(folder):
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    metrics, settings = {}, {}
    for data in records_in(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        for item in [*record.run.config.update, *record.config.update]:
            settings[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        step = values.pop("step", None)
        for name, value in values.items():
            if not name.startswith("_"):
                metrics.setdefault(name, []).append((step, value))
    return metrics, settings


def records_in(content):
    """The records of a .wandb file: a log of LevelDB, in blocks of 32 KB, after a header of 7 bytes."""
    position, begun = 7, b""
    while position < len(content):
        left = -position % 32768
        if 0 < left < 7:  # the end of a block, too short for a record
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", content, position)
        begun += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield begun
            begun = b""


def from_mlflow(folder):
    """Read in another process, because MLflow keeps a database open that it has once read."""
    program = """if True:
        import json, sys
        from mlflow import MlflowClient
        client = MlflowClient(sys.argv[1])
        (run,) = client.search_runs([client.get_experiment_by_name("seqmodels").experiment_id])
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        metrics = {name: [(item.step, item.value) for item in items] for name, items in histories.items()}
        print(json.dumps([metrics, run.data.params, run.info.status]))
    """
    command = [sys.executable, "-c", program, f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    metrics, settings, status = json.loads(shown.stdout)
    assert status == "FINISHED"
    return {name: [tuple(value) for value in values] for name, values in metrics.items()}, settings


def from_trackio(folder):
    with closing(sqlite3.connect(folder / "trackio" / "seqmodels.db")) as database:
        rows = database.execute("select step, metrics from metrics order by id").fetchall()
        ((settings,),) = database.execute("select config from configs").fetchall()
    metrics = {}
    for step, values in rows:
        for name, value in json.loads(values).items():
            metrics.setdefault(name, []).append((step, value))
    return metrics, json.loads(settings)


READ = {"wandb": from_wandb, "mlflow": from_mlflow, "trackio": from_trackio}


def test_tensorboard_shows_each_step_once_after_a_run_was_resumed(type_command, tmp_path, monkeypatch):
    forward, calls = SequenceModel.forward, []

    def fails(self, *arguments):
        calls.append(1)
        if len(calls) == 30:
            raise ValueError("a mistake")
        return forward(self, *arguments)

    monkeypatch.setattr(SequenceModel, "forward", fails)
    words = [*WORDS, "trainer.log_every_n_steps=1", "trainer.val_check_interval=4"]
    assert type_command(*words, "hydra.run.dir=run")[0] == 1
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()  # continue from an earlier step than the last one logged
    assert type_command("resume=run")[0] == 0
    expected = logged(tmp_path / "run")
    shown = from_tensorboard(tmp_path / "run")
    assert {name: [step for step, _ in values] for name, values in shown.items()} == {
        name: [step for step, _ in values] for name, values in expected.items()
    }
    for name, values in shown.items():
        torch.testing.assert_close([value for _, value in values], [value for _, value in expected[name]])


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named(name, type_command, tmp_path, monkeypatch):
    monkeypatch.setattr("seqmodels.runs.loggers.find_spec", lambda package: None)
    code, _, complaint = type_command(*WORDS, f"logger={name}", "hydra.run.dir=run")
    assert (code, complaint) == (1, f"error: logger={name} needs a package that is not installed: pip install {name}\n")
    assert not (tmp_path / "run").exists()


class Listed(Tracker):
    """A tracker that only keeps what it is told."""

    package = "json"

    def open(self, settings):
        self.kept = [settings]

    def write(self, metrics, step):
        self.kept.append((step, metrics))

    def end(self, failed):
        self.kept.append(failed)


def test_a_tracker_begins_again_from_the_rows_and_closes_once(tmp_path):
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "old").touch()
    tracker = Listed(str(tmp_path))
    tracker.close(failed=True)  # which was never opened
    tracker.begin({"seed": 1}, [{"step": "4", "train_loss": "0.5", "val_loss": ""}])
    tracker.log_metrics({"val_loss": 0.25, "epoch": 0}, step=9)
    tracker.close(failed=False)
    tracker.close(failed=False)
    assert tracker.kept == [{"seed": 1}, (4, {"train_loss": 0.5}), (9, {"val_loss": 0.25}), False]
    assert not list((tmp_path / "json").iterdir())
    tracker.log_metrics({"val_loss": 0.5}, step=3)  # in a program that did not begin it
    assert tracker.kept == [{}, (3, {"val_loss": 0.5})]


def start(words, folder, **settings):
    """Start a run in a process without a way to the network; everything it starts is in one process group."""
    program = """if True:
        import socket, sys
        def refuse(self, address, *rest):
            if self.family != socket.AF_UNIX and not str(address[0]).startswith(("127.", "::1", "localhost")):
                print("NETWORK", address, file=sys.stderr)
                raise OSError("no network")
            return connect(self, address, *rest)
        connect, socket.socket.connect = socket.socket.connect, refuse
        from seqmodels.__main__ import main
        main()
    """
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "MPLCONFIGDIR": str(folder / "matplotlib")}
    return subprocess.Popen(
        [sys.executable, "-c", program, "train", *words], cwd=folder,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **settings,
    )  # fmt: skip


def members(group):
    """The living processes of a process group, or of a session."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group, session = file.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if group in (int(its_group), int(session)) and state != "Z":
            found.append(file.parent.name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_holds_what_metrics_csv_holds(name, tmp_path):
    pytest.importorskip(name)
    words = [*WORDS, f"logger={name}", "trainer.log_every_n_steps=1", "trainer.val_check_interval=4"]

    # A run that is killed, and resumed twice, the second time with more steps
    process = start([*words, "trainer.max_steps=400", "data.num_workers=1", "hydra.run.dir=run"], tmp_path)
    deadline = time.monotonic() + 60
    metrics = tmp_path / "run" / "metrics.csv"
    while time.monotonic() < deadline and not (metrics.exists() and len(metrics.read_text().splitlines()) > 100):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    for more in ([], ["trainer.max_steps=410"]):
        process = start(["resume=run", *more], tmp_path)
        _, complaint = process.communicate(timeout=120)
        assert (process.returncode, complaint) == (0, "")
        deadline = time.monotonic() + 20
        while members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not members(process.pid)

        kept, settings = READ[name](tmp_path / "run")
        expected = logged(tmp_path / "run")
        assert kept.keys() == expected.keys()
        for metric, values in expected.items():
            assert [step for step, _ in kept[metric]] == [step for step, _ in values]
            torch.testing.assert_close([value for _, value in kept[metric]], [value for _, value in values])
        assert str(settings["model.hidden_size"]) == "4"
    assert not [file for file in (tmp_path / "home").rglob("*") if file.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_two_runs_of_a_sweep_are_kept_apart(name, tmp_path):
    pytest.importorskip(name)
    process = start([*WORDS, f"logger={name}", "-m", "seed=1,2"], tmp_path)
    _, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    folders = [file.parent for file in tmp_path.rglob("result.json")]
    assert len(folders) == 2
    for folder in folders:
        kept, settings = READ[name](folder)
        assert {metric: len(values) for metric, values in kept.items()} == {
            metric: len(values) for metric, values in logged(folder).items()
        }
        assert str(settings["seed"]) == str(json.loads((folder / "result.json").read_text())["seed"])


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_process(name, number, tmp_path):
    pytest.importorskip(name)
    process = start([*WORDS, f"logger={name}", "trainer.max_steps=100000", "hydra.run.dir=run"], tmp_path)
    while "step 20" not in process.stdout.readline():
        assert process.poll() is None
    os.killpg(process.pid, number) if number == signal.SIGINT else os.kill(process.pid, number)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not members(process.pid)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
