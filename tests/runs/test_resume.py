"""A run that was interrupted, by whatever means, continues to the bits of one that was not."""

import json
import os
import random
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interruptions import at, contents, fail
from omegaconf import OmegaConf

from seqmodels.config.folders import override
from seqmodels.learner import Learner
from seqmodels.model import SequenceModel
from seqmodels.runs.callbacks import StepsLines
from seqmodels.runs.checkpoints import Checkpoints
from seqmodels.tasks import ParityCheck

WORDS = [
    "model=manual_lstm", "model.hidden_size=6", "model.num_layers=2", "model.dropout=0.3", "scheduler=cosine",
    "task.length=12", "task.test_length=20", "task.doubling_batches=5", "data.batch_size=8", "data.eval_batches=2",
    "trainer.max_steps=40", "trainer.val_check_interval=10", "trainer.log_every_n_steps=3", "checkpoint.steps=7",
    "logger=none", "parity=off",
]  # fmt: skip


def global_steps(folder):
    files = (folder / "checkpoints").glob("*.ckpt")
    return {file.stem: torch.load(file, weights_only=True)["global_step"] for file in files}


def send(number):
    return lambda: os.kill(os.getpid(), number)


FAULTS = {
    "in a step": (SequenceModel, "forward", 16, fail, 1),
    "in a step, signal": (SequenceModel, "forward", 16, send(signal.SIGTERM), 143),
    "in the step before a validation": (SequenceModel, "forward", 10, send(signal.SIGINT), 130),
    "in a validation": (SequenceModel, "forward", 12, send(signal.SIGTERM), 143),
    "in a validation, error": (SequenceModel, "forward", 24, fail, 1),
    "in drawing": (ParityCheck, "draw", 18, fail, 1),
    "in the first step": (SequenceModel, "forward", 1, send(signal.SIGHUP), 129),
    "in the first step, error": (SequenceModel, "forward", 1, fail, 1),
    # The first 41 updates are those that try the optimizer and the scheduler on a single number.
    "in the update": (torch.optim.Adam, "step", 61, fail, 1),
    "in the last step": (SequenceModel, "forward", 46, send(signal.SIGTERM), 143),
    "in the test": (SequenceModel, "forward", 49, send(signal.SIGTERM), 143),
    "in the test, error": (SequenceModel, "forward", 50, fail, 1),
    "while saving": (torch, "save", 3, fail, 1),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The contents of the folders of runs that nothing interrupts, by their words."""
    known = {}

    def uninterrupted(type_command, tmp_path, *words):
        if words not in known:
            assert type_command(*words, "hydra.run.dir=uninterrupted")[0] == 0
            known[words] = contents(tmp_path / "uninterrupted")
        return known[words]

    return uninterrupted


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_continues_to_the_same_bits(fault, type_command, tmp_path, uninterrupted):
    expected = uninterrupted(type_command, tmp_path, *WORDS)
    owner, method, count, function, code = FAULTS[fault]
    with at(owner, method, count, function):
        ended, _, complaint = type_command(*WORDS, "hydra.run.dir=run")
    assert ended == code, complaint
    assert complaint.count("error: ") == 1
    assert f"resume={tmp_path / 'run'} continues the run" in complaint
    assert "Traceback" not in complaint
    assert not (tmp_path / "run" / "result.json").exists()

    ended, shown, complaint = type_command("resume=run")
    assert (ended, complaint) == (0, "")
    assert "Continuing from step" in shown
    assert contents(tmp_path / "run") == expected
    assert not [file for file in (tmp_path / "run").rglob("*") if file.name.startswith(".")]


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.accumulate_grad_batches=3"],
        pytest.param(["data.num_workers=2"], marks=pytest.mark.slow),
        ["task.mixed_lengths=true", "trainer.val_check_interval=1", "checkpoint.steps=1"],
        pytest.param(
            ["task=digits", "~task.test_length", "~task.length", "~task.doubling_batches"], marks=pytest.mark.slow
        ),
    ],
    ids=" ".join,
)
def test_other_runs_continue_to_the_same_bits(words, type_command, tmp_path):
    words = [word for word in [*WORDS, *words] if "digits" not in " ".join(words) or "task." not in word]
    assert type_command(*words, "hydra.run.dir=uninterrupted")[0] == 0
    with at(SequenceModel, "forward", 38, fail):
        assert type_command(*words, "hydra.run.dir=run")[0] == 1
    assert type_command("resume=run/")[0] == 0
    assert contents(tmp_path / "run") == contents(tmp_path / "uninterrupted")


def test_more_steps_continue_a_finished_run(type_command, tmp_path):
    words = [word for word in WORDS if word != "scheduler=cosine"]
    assert type_command(*words, "hydra.run.dir=long")[0] == 0
    assert type_command(*words, "trainer.max_steps=20", "hydra.run.dir=run")[0] == 0
    code, shown, _ = type_command("resume=run")
    assert (code, "has finished after 20 steps" in shown) == (0, True)
    seconds = json.loads((tmp_path / "run" / "result.json").read_text())["seconds"]
    assert type_command("resume=run", "trainer.max_steps=40")[0] == 0
    assert json.loads((tmp_path / "run" / "result.json").read_text())["seconds"] > seconds
    assert contents(tmp_path / "run") == contents(tmp_path / "long")
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").trainer.max_steps == 40


def test_a_config_that_was_edited_meanwhile_is_refused(interrupted, type_command):
    file = interrupted / "config.yaml"
    file.write_text(file.read_text().replace("lr: 0.005", "lr: 0.05"))
    code, _, complaint = type_command("resume=run")
    assert code == 1
    assert "config.yaml has changed since" in complaint


@pytest.mark.parametrize("name", ["metrics.csv", "checkpoints/last.ckpt", ".lock", "tensorboard"])
def test_a_folder_with_a_link_is_refused_and_nothing_is_written_through_it(name, interrupted, type_command, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (interrupted / name).unlink(missing_ok=True)
    (interrupted / name).symlink_to(elsewhere)
    code, _, complaint = type_command("resume=run")
    assert code == 1
    assert "is a link" in complaint
    assert elsewhere.read_text() == "precious"


@pytest.mark.parametrize("content", [b"a,b\r\n1,2\r\n", b"\xff\xfe\n", b"step\r\nx\r\n"])
def test_metrics_that_no_run_has_written_are_refused_by_name(content, interrupted, type_command):
    (interrupted / "metrics.csv").write_bytes(content)
    code, _, complaint = type_command("resume=run")
    assert code == 1
    assert "metrics.csv" in complaint
    assert "Traceback" not in complaint


@pytest.fixture
def interrupted(type_command, tmp_path):
    """A run that has ended in step 16."""
    with at(SequenceModel, "forward", 18, fail):
        assert type_command(*WORDS, "hydra.run.dir=run")[0] == 1
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=nn_lstm"], "model._target_ (from seqmodels.layers"),
        (["optimizer.lr=0.5"], "optimizer.lr (from 0.005 to 0.5)"),
        (["seed=2", "data.batch_size=9"], "data.batch_size (from 8 to 9), seed (from 1 to 2)"),
        (["trainer.max_steps=30"], "trainer.max_steps may only grow when a run is continued: it was 40, got 30"),
        (["trainer.max_steps=80"], "trainer.max_steps cannot grow: scheduler.T_max=40 follows it"),
        (["experiment=parity_uniform"], "experiment cannot be combined with resume="),
        (["trainer.max_steps=x"], "trainer.max_steps may only grow when a run is continued: it was 40, got 'x'"),
        (["hydra.run.dir=other"], "leave out -m and hydra.run.dir"),
        (["optimizer.lrr=0.5"], "optimizer.lrr is not a setting; did you mean 'lr'?"),
    ],
    ids=str,
)
def test_what_would_change_the_numbers_is_refused(words, said, interrupted, type_command, tmp_path):
    before = {file: file.read_bytes() for file in interrupted.rglob("*") if file.is_file()}
    code, _, complaint = type_command("resume=run", *words)
    assert code == 1
    assert said in complaint
    assert {file: file.read_bytes() for file in interrupted.rglob("*") if file.is_file()} == before
    assert {entry.name for entry in tmp_path.iterdir()} == {"run"}


def test_an_error_in_the_test_leaves_the_last_weights_alone(type_command, tmp_path):
    words = ["task=adding", "optimizer.lr=0.3", "trainer.gradient_clip_val=null", "logger=none", "parity=off"]
    words += ["trainer.max_steps=60", "trainer.val_check_interval=5"]
    assert type_command(*words, "hydra.run.dir=whole")[0] == 0
    assert json.loads((tmp_path / "whole" / "result.json").read_text())["best_step"] < 60
    with at(Learner, "test_step", 2, fail):
        assert type_command(*words, "hydra.run.dir=run")[0] == 1
    assert type_command("resume=run")[0] == 0
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_an_error_between_a_step_and_its_validation_skips_no_validation(type_command, tmp_path, uninterrupted):
    with at(StepsLines, "on_train_batch_end", 20, fail):
        assert type_command(*WORDS, "hydra.run.dir=run")[0] == 1
    assert type_command("resume=run")[0] == 0
    assert contents(tmp_path / "run") == uninterrupted(type_command, tmp_path, *WORDS)


def test_a_run_that_diverged_is_not_continued(type_command):
    words = ["task=adding", "model.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e30", "logger=none"]
    assert type_command(*words, "trainer.gradient_clip_val=null", "hydra.run.dir=run")[0] == 1
    code, shown, complaint = type_command("resume=run")
    assert (code, shown) == (1, "")
    assert "this run has diverged at step 2, and would do so again" in complaint


def test_a_class_of_ones_own_and_what_was_left_out_are_typed_again(type_command):
    words = ["model._target_=torch.nn.RNN", "~model.backend", *WORDS[1:4], *WORDS[5:]]
    with at(SequenceModel, "forward", 18, fail):
        assert type_command(*words, "hydra.run.dir=run")[0] == 1
    code, _, complaint = type_command("resume=run", *words)
    assert (code, complaint) == (0, "")


def test_a_folder_of_any_name_can_be_typed_as_the_message_says(type_command, tmp_path):
    name = 'a run, x=y (1) [2] ü "quoted"'
    with at(SequenceModel, "forward", 18, fail):
        _, _, complaint = type_command(*WORDS, override("hydra.run.dir", name))
    (word,) = shlex.split(complaint.rpartition("; ")[2].removesuffix(" continues the run\n"))
    assert type_command(word)[0] == 0
    assert (tmp_path / name / "result.json").exists()


def test_what_changes_no_number_may_change(interrupted, type_command, tmp_path, uninterrupted):
    words = ["data.num_workers=1", "checkpoint.steps=null", "checkpoint.minutes=0.1"]
    assert type_command("resume=run", *words)[0] == 0
    assert OmegaConf.load(interrupted / "config.yaml").data.num_workers == 1
    changed = contents(interrupted)
    assert changed == uninterrupted(type_command, tmp_path, *WORDS)


@pytest.fixture
def interrupted_on_a_file(type_command, tmp_path):
    """An interrupted run on a CSV file of the user's."""
    (tmp_path / "mine.csv").write_text("day,value\n" + "".join(f"{day},{day % 7}\n" for day in range(60)))
    words = [WORDS[0], *WORDS[4:], "task=csv", "task.path=mine.csv", "task.target=value", "task.window=4"]
    words = [
        word for word in words if not word.startswith("task.") or word.split("=")[0][5:] in ("path", "target", "window")
    ]
    with at(SequenceModel, "forward", 18, fail):
        assert type_command(*words, "hydra.run.dir=run")[0] == 1
    return tmp_path / "mine.csv"


def test_data_that_changed_meanwhile_are_refused(interrupted_on_a_file, type_command):
    content = interrupted_on_a_file.read_text()
    interrupted_on_a_file.write_text(content.replace("59,3", "59,4"))  # the last value of the test
    code, _, complaint = type_command("resume=run")
    assert code == 1
    assert "the files of the task have changed since" in complaint
    interrupted_on_a_file.write_text(content.replace("day,", "date,"))  # nothing that the task reads
    assert type_command("resume=run")[0] == 0


def test_a_relative_path_is_looked_for_where_the_run_is_resumed(
    interrupted_on_a_file, type_command, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, complaint = type_command("resume=../run")
    assert code == 1
    assert f"there is none at mine.csv, in the working directory {tmp_path / 'elsewhere'}" in complaint
    monkeypatch.chdir(tmp_path)
    assert type_command("resume=run")[0] == 0


def test_a_damaged_checkpoint_is_noticed_and_the_previous_one_is_used(interrupted, type_command):
    assert global_steps(interrupted) == {"best": 10, "last": 15, "previous": 14}
    last = interrupted / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    last.write_bytes(content)
    code, shown, _ = type_command("resume=run")
    assert code == 0
    assert "last.ckpt is damaged" in shown.replace("\n", " ")
    assert "Continuing from step 14, previous.ckpt" in shown


@pytest.mark.parametrize("damaged", [["last", "previous"], ["best"]], ids=str)
def test_without_a_whole_checkpoint_a_run_begins_again(damaged, interrupted, type_command, tmp_path, uninterrupted):
    for name in damaged:
        file = interrupted / "checkpoints" / f"{name}.ckpt"
        file.write_bytes(file.read_bytes()[:-100])
    code, shown, _ = type_command("resume=run")
    assert code == 0
    assert f"{damaged[0]}.ckpt is damaged" in shown
    assert "Continuing from step 0" in shown
    assert contents(interrupted) == uninterrupted(type_command, tmp_path, *WORDS)


def test_a_class_of_another_package_is_built_only_if_it_is_typed(interrupted, type_command, tmp_path):
    (tmp_path / "theirs.py").write_text("raise SystemError('imported')")
    whole = OmegaConf.load(interrupted / "config.yaml")

    def with_settings(**settings):
        OmegaConf.save(OmegaConf.merge(whole, settings), interrupted / "config.yaml")
        code, _, complaint = type_command("resume=run")
        assert code == 1
        return complaint

    complaint = with_settings(optimizer={"_target_": "theirs.Optimizer"})
    assert "if you trust it, type optimizer._target_=theirs.Optimizer as well" in complaint
    command = "torch.nn.modules.module.torch.utils.collect_env.run"  # runs a shell command
    complaint = with_settings(scheduler={"_target_": command, "command": f"touch {tmp_path}/run_by_them"})
    assert f"type scheduler._target_={command} as well" in complaint
    assert "would make Hydra build an object" in with_settings(optimizer={"betas": [{"_target_": "os.getcwd"}]})
    assert "is an interpolation" in with_settings(claim="${oc.env:HOME}")
    assert not (tmp_path / "run_by_them").exists()


def test_a_run_of_an_earlier_version_is_not_continued(interrupted, type_command):
    config = OmegaConf.load(interrupted / "config.yaml")
    del config["checkpoint"]
    OmegaConf.save(config, interrupted / "config.yaml")
    code, _, complaint = type_command("resume=run")
    assert code == 1
    assert "this run was made by an earlier version without checkpoint" in complaint


def test_a_folder_without_a_run_is_left_as_it_is(type_command, tmp_path):
    code, _, complaint = type_command("resume=nowhere")
    assert code == 1
    assert "no run has begun there" in complaint
    assert not list(tmp_path.iterdir())


def test_checkpoints_by_minutes(monkeypatch):
    checkpoints = Checkpoints(Path("folder"), steps=None, minutes=2)
    clock = [100.0]
    monkeypatch.setattr("seqmodels.runs.checkpoints.time.monotonic", lambda: clock[0])
    checkpoints.saved = 100.0
    assert not checkpoints.is_due(500)
    clock[0] = 220.0
    assert checkpoints.is_due(501)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("elsewhere", [False, True], ids=["", "temporary files on another disk"])
def test_runs_killed_at_random_moments(workers, elsewhere, tmp_path, monkeypatch):
    """Each is killed twice, at any moment from its start to its end. `RUNS=100` kills more of them."""
    if elsewhere:
        monkeypatch.setenv("TMPDIR", "/dev/shm")
    words = [*WORDS, "trainer.max_steps=300", "checkpoint.steps=10", f"data.num_workers={workers}"]

    def start(*words):
        return subprocess.Popen([sys.executable, "-m", "seqmodels", "train", *words], cwd=tmp_path)

    assert start(*words, "hydra.run.dir=whole").wait() == 0
    chance = random.Random(workers)
    for number in range(int(os.environ.get("RUNS", "5"))):
        folder = tmp_path / f"run{number}"
        for longest in (12, 12, None):
            resumes = (folder / "config.yaml").exists()
            process = start(f"resume={folder}") if resumes else start(*words, f"hydra.run.dir={folder}")
            try:
                assert process.wait(longest and chance.uniform(2, longest)) == 0
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        assert contents(folder) == contents(tmp_path / "whole")
