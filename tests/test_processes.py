"""Several processes: the numbers of one, one folder, one message, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from seqmodels.checks import UserError
from seqmodels.config import compose
from seqmodels.processes import all_processes, check_started, free_port, rank_in
from seqmodels.runs.build import use_threads

ROOT = Path(__file__).parents[1]
QUIET = ["logger=none", "trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1"]
TINY = [*QUIET, "model.hidden_size=8", "task.length=[2,12]", "data.batch_size=9", "data.eval_batches=1"]
UNEVEN = [*TINY, "task.mixed_lengths=true", "trainer.max_steps=12", "trainer.val_check_interval=4"]
"""Nine sequences of several lengths: the parts of a batch differ in size, and in the positions that are scored."""
LONG = [*TINY, "trainer.max_steps=100000", "trainer.val_check_interval=10", "parity=off", "hydra.run.dir=run"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(*words, folder, processes=2, program=(str(ROOT / "train.py"),)):
    """Start a run of several processes in a group of its own."""
    command = [sys.executable, *program, "trainer=ddp", f"trainer.devices={processes}", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, start_new_session=True, **pipes)


def outcome(run):
    """The exit code, and what was printed, once all processes of the group have ended."""
    out, err = run.communicate(timeout=300)
    deadline = time.monotonic() + 10
    while is_alive(run.pid):
        assert time.monotonic() < deadline, "a process has outlived the run"
        time.sleep(0.1)
    return run.returncode, out, err


def is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def metrics_of(folder):
    return pd.read_csv(folder / "metrics.csv", index_col="step")


def largest_difference(one, several, of="_", steps=10**9):
    """Between the columns of two runs whose names contain `of`; everything has to be logged at the same steps."""
    one, several = metrics_of(one), metrics_of(several)
    pd.testing.assert_frame_equal(one.isna(), several.isna())
    return (one - several).filter(like=of)[:steps].abs().max().max()


def test_two_processes_are_one_run(pictures, train, tmp_path):
    code, out, err = outcome(start(*UNEVEN, folder=tmp_path))
    assert (code, err) == (0, "")
    assert out.count("gradient of weight_hh_l0") == out.count("Results are in") == 1
    (folder,) = tmp_path.glob("outputs/parity_check/manual_rnn/*")
    one = train(*UNEVEN)
    assert {file.name for file in one.iterdir()} == {file.name for file in folder.iterdir()}
    assert largest_difference(one, folder) < 1e-6


@pytest.mark.parametrize(
    ("settings", "environment", "message"),
    [
        (["trainer.devices=0"], {}, "trainer.devices should be a positive whole number, got 0"),
        (["trainer.devices=auto"], {}, "trainer.devices should be a positive whole number, got 'auto'"),
        (["trainer.num_nodes=2"], {}, "needs torchrun or srun"),
        (["trainer.strategy=ddp_spawn"], {}, "trainer.strategy should be 'ddp', got 'ddp_spawn'"),
        (["trainer.devices=1"], {"TORCHELASTIC_RUN_ID": "x"}, "need 1 process, but torchrun has started 2"),
        (["trainer.devices=4"], {"TORCHELASTIC_RUN_ID": "x"}, "need 4 processes, but torchrun has started 2"),
        (["trainer.devices=4"], {"SLURM_NTASKS": "2", "SLURM_PROCID": "0"}, "but srun has started 2"),
    ],
)
def test_what_cannot_be_is_refused(settings, environment, message, monkeypatch):
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | environment).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message), all_processes(compose("trainer=ddp", *settings).trainer):
        pytest.fail("it was not refused")


def test_only_what_starts_all_processes_builds_a_run_of_several(train):
    with pytest.raises(UserError, match="which only the train command, torchrun and srun can start"):
        train("trainer=ddp", *UNEVEN)


def test_a_sweep_over_several_processes_is_refused(type_command, tmp_path):
    code, _, err = type_command("-m", "trainer=ddp", "seed=1,2")
    assert code == 1
    assert err.count("-m trains each run in one process") == 1
    assert not (tmp_path / "outputs" / "parity_check").exists()


def test_srun_may_start_many_runs_of_one_process(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    one, four = compose().trainer, compose("trainer=ddp", "trainer.devices=4").trainer
    assert (rank_in(one), rank_in(four)) == (0, 3)
    check_started(one)
    check_started(four)


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr("seqmodels.runs.build.available_cores", lambda: 5)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    try:
        use_threads("auto", processes=2)
        assert torch.get_num_threads() == 2
        with pytest.raises(UserError, match="from 1 to 2, for each of 2 processes, or 'auto' for all cores, got 3"):
            use_threads(3, processes=2)
    finally:
        torch.set_num_threads(1)


STARTED = """
import json, os, sys
from pathlib import Path

from seqmodels.runs.build import build
from seqmodels.config import compose
from seqmodels.runs.run import run

environment = dict(os.environ)
for name, words in json.loads(sys.argv[1]).items():
    os.environ.update(environment)
    Path(name).mkdir(exist_ok=True)
    run(build(compose(*words), Path(name)), Path(name))
"""
"""Some runs one after the other, in processes that are started by hand."""

CASES = {
    "curriculum": ["task=parity_check", "task.doubling_batches=40"],
    "mixed lengths": ["task=parity_check", "task.mixed_lengths=true", "task.doubling_batches=40"],
    "scored positions": ["task=mqar", "task.length=[24,32]", "task.pairs=4", "task.mixed_lengths=true"],
    "numbers at each step": ["task=sine", "task.length=20", "trainer.accumulate_grad_batches=2"],
    "several tests": ["task=adding", "task.length=[5,10]", "task.test_lengths=[5,20]"],
    "a process without rows": ["task=sine", "task.length=20", "data.batch_size=1"],
    "a data set": ["task=digits", "data.num_workers=1"],
}


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("precision", ["64-true", "32-true"])
@pytest.mark.parametrize("optimizer", [["optimizer=adam"], ["optimizer=sgd", "optimizer.lr=0.02"]])
def test_200_steps_are_those_of_one_process(train, tmp_path, processes, precision, optimizer):
    """To rounding, which training magnifies: in one process, another order of the rows ends as far away."""
    options = [*QUIET, *optimizer, f"trainer.precision={precision}", "parity=off", "data.eval_batches=3"]
    options += ["trainer.max_steps=200", "trainer.val_check_interval=50", "data.batch_size=35"]
    cases = {name: [*options, *words] for name, words in CASES.items()}
    start_by_hand(cases, processes, tmp_path)
    for name, words in cases.items():
        runs = train(*words, name=f"one {name}"), tmp_path / name
        losses = [largest_difference(*runs, "train_loss", steps) for steps in (100, 200)]
        everything = largest_difference(*runs)
        print(
            f"{name}, {processes} processes, {optimizer[0]}, {precision}: "
            f"{losses[0]:.1e} in 100 steps, {losses[1]:.1e} in 200; with validation and test {everything:.1e}"
        )
        assert losses[0] < (1e-12 if precision == "64-true" else 1e-4)
        if precision == "64-true":
            assert everything < 1e-6


def start_by_hand(cases, processes, folder):
    words = {name: [*words, "trainer=ddp", f"trainer.devices={processes}"] for name, words in cases.items()}
    shared = {"SEQMODELS_STARTED": "1", "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = str(free_port())
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", STARTED, json.dumps(words)],
            cwd=folder,
            env=ENVIRONMENT | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(processes)
    ]
    assert [run.wait() for run in runs] == [0] * processes


def until(file, run):
    while not file.exists():
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    time.sleep(1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "everywhere", "code"), [("SIGTERM", False, 143), ("SIGTERM", True, 143), ("SIGINT", True, 130)]
)
def test_a_signal_ends_all_processes_where_the_run_continues(tmp_path, stop, everywhere, code):
    options = [*LONG, "trainer.max_steps=600", "model=manual_lstm", "model.num_layers=2", "model.dropout=0.3"]
    run = start(*options, folder=tmp_path)
    until(tmp_path / "run" / "checkpoints" / "best.ckpt", run)
    (os.killpg if everywhere else os.kill)(run.pid, signal.Signals[stop])
    ended, _, err = outcome(run)
    assert ended == code
    assert err.count("\n") == 1
    assert f"resume={tmp_path / 'run'} continues the run" in err
    # In the end it has the numbers of a run that was not interrupted, dropout included.
    assert outcome(start(*options, "hydra.run.dir=whole", folder=tmp_path))[0] == 0
    resumed = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "resume=run"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert (resumed.returncode, resumed.stderr) == (0, "")
    assert largest_difference(tmp_path / "run", tmp_path / "whole") == 0


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_no_process_outlives_another(tmp_path, killed):
    run = start(*LONG, folder=tmp_path)
    until(tmp_path / "run" / "checkpoints" / "best.ckpt", run)
    (child,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    os.kill([run.pid, int(child)][killed], signal.SIGKILL)
    code, _, err = outcome(run)
    if killed == 0:
        assert (code, err) == (-9, "")
    else:
        assert code == 1
        assert "process 1 ended with exit code -9" in err
        assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("True", "error: the run failed with OverflowError: too much"),
        ("rank == '1'", "error: process 1: the run failed"),
    ],
)
def test_an_error_is_reported_once(tmp_path, condition, message):
    (tmp_path / "their_task.py").write_text(
        textwrap.dedent(f"""
            import os
            from seqmodels.tasks import ParityCheck

            rank = os.environ.get("RANK")

            class Failing(ParityCheck):
                def batch(self, split, index, size, generator):
                    if split == "train" and index == 7 and {condition}:
                        raise OverflowError("too much")
                    return super().batch(split, index, size, generator)
        """)
    )
    words = ["task._target_=their_task.Failing", *LONG]
    run = start(*words, folder=tmp_path, program=("-m", "seqmodels", "train"))
    code, _, err = outcome(run)
    assert code == 1
    assert err.startswith(message)
    assert err.count("too much") == 1


@pytest.mark.slow
def test_all_processes_diverge_together(tmp_path):
    options = ["task=adding", "model.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e30"]
    code, _, err = outcome(start(*LONG, *options, folder=tmp_path))
    assert code == 1
    assert err.count("\n") == 1
    assert "training diverged: at step" in err
