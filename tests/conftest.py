"""Fixtures of all tests: a run without a command line, a command line without a process, and a wheel."""

import gc
import importlib.util
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqmodels.config import compose
from seqmodels.stops import SIGNALS

ROOT = Path(__file__).parents[1]

collect_ignore = ["foreign"]  # programs, which are run by test_foreign_projects.py

torch.set_num_threads(1)  # with more, small tensors wait for busy neighbours, and results depend on the machine
gc.set_threshold(50_000, 20, 100)  # composing a config takes a quarter less time than with Python's threshold


@pytest.fixture(autouse=True)
def signals_as_in_a_terminal():
    """Ignore no signal, even if the tests were started by nohup or in the background, which have some ignored."""
    ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def pictures():
    """Let `train` and `type_command` draw the pictures of runs, which take most of the time of a short run."""


@pytest.fixture
def no_pictures(request, monkeypatch):
    """Leave out the pictures of runs, unless a test asks for `pictures`."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("seqmodels.runs.run.draw", lambda *arguments: None)


@pytest.fixture
def train(tmp_path, no_pictures):
    """Run a config as `train.py` would, without pictures; returns the run folder."""

    def train(*overrides, name="run"):
        from seqmodels.runs.build import build
        from seqmodels.runs.run import run

        folder = tmp_path / name
        folder.mkdir()
        run(build(compose("trainer.enable_progress_bar=false", "logger=none", *overrides), folder), folder)
        return folder

    return train


@pytest.fixture
def type_command(monkeypatch, capsys, tmp_path, no_pictures):
    """Type a command in an empty folder; returns the exit code, what was printed and the errors."""
    monkeypatch.chdir(tmp_path)

    def type_command(*words, verb=None):
        if verb is None:
            spec = importlib.util.spec_from_file_location("train", ROOT / "train.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            monkeypatch.setattr(sys, "argv", ["train.py", *words])
        else:
            module = importlib.import_module("seqmodels.__main__")
            monkeypatch.setattr(sys, "argv", ["seqmodels", verb, *words])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        try:
            module.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return type_command


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The package as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", ".", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))
