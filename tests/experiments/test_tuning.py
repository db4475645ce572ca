"""Tuning: equal budgets, validation alone, trials that survive, and a best config that gives its score again."""

import csv
import functools
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from seqmodels.checks import UserError
from seqmodels.commands import tune
from seqmodels.config import compose
from seqmodels.experiments.tuning import database
from seqmodels.experiments.tuning.best import experiment_of
from seqmodels.experiments.tuning.database import open_storage
from seqmodels.experiments.tuning.search import Budget, Search, search_all
from seqmodels.experiments.tuning.space import distributions
from seqmodels.files import has_writer
from seqmodels.learner import Diverged
from seqmodels.processes import available_cores
from seqmodels.tasks import Adding
from seqmodels.untrusted.reading import read_config

ROOT = Path(__file__).parents[2]
TINY = ["model.hidden_size=8", "task.length=12", "data.batch_size=8", "trainer.max_steps=20"]
TINY += ["trainer.val_check_interval=10", "logger=none"]
RATES = {"optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}, "model.num_layers": {"low": 1, "high": 3}}


def rows_of(folder):
    with (folder / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def search(tmp_path, monkeypatch):
    """A search whose trials take no time: their score is a function of the settings and the seed."""

    def train(search, config, folder, validation):
        lr, layers = config.optimizer.lr, config.model.num_layers
        validation.parts = SimpleNamespace(
            checkpoints=SimpleNamespace(best_step=0, best_loss=lr), task=SimpleNamespace(metric_name="mse")
        )
        for step in range(100, 1600, 100):
            metric = SimpleNamespace(item=lambda: lr + layers + 1 / step + config.seed / 1000)  # noqa: B023
            validation.parts.checkpoints.best_step = step
            validation.on_validation_end(
                SimpleNamespace(global_step=step, max_steps=1500, callback_metrics={"val_mse": metric}), None
            )
        folder.mkdir(exist_ok=True)

    def config_of(search, settings, seed=101):
        config = composed(*search.words).copy()
        for name, value in ({"seed": seed} | settings).items():
            OmegaConf.update(config, name, value)
        return config

    monkeypatch.setattr(Search, "train", train)
    monkeypatch.setattr(Search, "config_of", config_of)
    made = {}

    def search(trials=12, seeds=(101,), prune=True, space=RATES, folder="root", storage=None, words=("task=adding",)):
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        new = Search(words, distributions("own", space), Budget(trials, seeds, prune), root)
        new.open(storage or made.setdefault(folder, optuna.storages.InMemoryStorage()))
        return new

    return search


@functools.cache
def composed(*words):
    return compose(*words, "logger=none", "trainer.enable_progress_bar=false")


def ends(search):
    """What the trials were and how they ended."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in search.rows()]


def test_two_models_get_the_same_budget_and_the_test_split_is_not_looked_at(tmp_path, type_command, monkeypatch):
    def validation_alone(task, split, *rest):
        assert split != "test", "a trial has computed the test split"
        return batch(task, split, *rest)

    batch = Adding.batch
    words = ["model=manual_rnn,manual_gru", "task=adding", "trials=2", "match=parameters", "folder=tuned", *TINY]
    with monkeypatch.context() as patches:
        patches.setattr(Adding, "batch", validation_alone)
        patches.setattr(Adding, "chance", property(lambda task: pytest.fail("chance of the test was computed")))
        code, shown, errors = type_command(*words, verb="tune")
    assert (code, errors) == (0, "")
    rows = rows_of(tmp_path / "tuned")
    assert [(row["model"], row["trial"], row["end"]) for row in rows] == [
        ("manual_rnn", "1", "finished"), ("manual_rnn", "2", "finished"),
        ("manual_gru", "1", "finished"), ("manual_gru", "2", "finished"),
    ]  # fmt: skip
    assert [row["optimizer.lr"] for row in rows[:2]] == [row["optimizer.lr"] for row in rows[2:]]
    assert float(rows[0]["optimizer.lr"]) == compose().optimizer.lr
    configs = [
        read_config(tmp_path / "tuned" / f"{row['model']}_adding" / f"00{row['trial']}" / "101" / "config.yaml")
        for row in rows
    ]
    assert [(config["seed"], config["trainer"]["max_steps"]) for config in configs] == [(101, 20)] * 4
    assert [config["model"]["hidden_size"] for config in configs] == [8, 8, 4, 4]
    assert not list((tmp_path / "tuned").rglob("*.ckpt"))
    assert not list((tmp_path / "tuned").rglob("result.json"))

    # The same command again runs no trial.
    with monkeypatch.context() as patches:
        patches.setattr(Search, "run", lambda *arguments: pytest.fail("a trial was run again"))
        code, shown, _ = type_command(*words, verb="tune")
    assert code == 0
    assert "manual_gru on adding: 2 of 2 trials have been run already" in shown

    # The command that is shown trains the best, and with the tuning seed it comes to the same score.
    assert "--config-dir tuned experiment=manual_gru_adding -m 'seed=range(1,6)'" in shown
    run = ["--config-dir", "tuned", "experiment=manual_gru_adding", "seed=101", "hydra.run.dir=run", "logger=none"]
    assert type_command(*run, verb="train")[0] == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["validation"] == min(float(row["validation"]) for row in rows[2:])


def test_equal_commands_make_equal_trials_also_when_they_are_interrupted(search, monkeypatch):
    whole, broken = search(folder="whole"), search(folder="broken")
    search_all([whole], lambda line: None)
    run = Search.run

    def stop_in_trial_8(search, trial, folder):
        if folder.name == "008" and not (folder / "tried").exists():
            (folder / "tried").touch()
            raise SystemExit(143)
        run(search, trial, folder)

    monkeypatch.setattr(Search, "run", stop_in_trial_8)
    with pytest.raises(SystemExit):
        search_all([broken], lambda line: None)
    assert len(broken.rows()) == 7
    said = []
    search_all([broken], said.append)
    assert said[0] == "manual_rnn on adding: 7 of 12 trials have been run already"
    assert len(said) == 6
    assert ends(broken) == ends(whole)
    assert {row["end"] for row in ends(whole)} == {"finished", "stopped early"}
    assert len(broken.study.trials) == 13


def test_more_trials_continue_a_search(search):
    search_all([search(trials=3)], lambda line: None)
    more = search(trials=5)
    search_all([more], lambda line: None)
    assert [row["trial"] for row in more.rows()] == [1, 2, 3, 4, 5]
    fewer, said = search(trials=2), []
    search_all([fewer], said.append)
    assert said == ["manual_rnn on adding: 5 trials have been run already"]
    assert "# The best of 5 trials of" in experiment_of(fewer, fewer.best)


def test_a_trial_averages_over_its_seeds(search):
    one, two = search(trials=2, folder="one"), search(trials=2, seeds=(101, 105), folder="two")
    search_all([one, two], lambda line: None)
    assert [row["validation"] + 0.002 for row in one.rows()] == pytest.approx([row["validation"] for row in two.rows()])
    assert [row["steps"] for row in two.rows()] == [3000, 3000]


def test_trials_that_fail_or_diverge_are_recorded_and_end_nothing(search, monkeypatch):
    def train(search, config, folder, validation):
        if folder.parent.name == "002":
            raise RuntimeError("no luck")
        if folder.parent.name == "003":
            raise UserError("optimizer.lr=7: too large\x1b[2J")
        validation.score = validation.loss = 0.5
        return Diverged(31, "the loss") if folder.parent.name == "004" else None

    monkeypatch.setattr(Search, "train", train)
    said = []
    tuned = search(trials=5)
    search_all([tuned], said.append)
    assert [row["end"] for row in tuned.rows()] == ["finished", "failed", "failed", "diverged", "finished"]
    assert "trial 2 of 5: failed: RuntimeError: no luck" in said[1]
    assert r"failed: optimizer.lr=7: too large\x1b[2J" in said[2]
    assert "trial 4 of 5: diverged at step 31" in said[3]
    assert tuned.best.user_attrs["number"] == 1  # of equal trials the first


def test_a_trial_that_is_worse_than_the_others_is_stopped_but_not_at_its_beginning(search):
    patient, hasty = search(prune=False, folder="patient"), search(folder="hasty")
    search_all([patient, hasty], lambda line: None)
    assert {row["steps"] for row in patient.rows()} == {1500}
    stopped = [row for row in hasty.rows() if row["end"] == "stopped early"]
    assert stopped
    assert {row["steps"] for row in stopped} == {500}  # after a third of the steps
    assert all(row["trial"] > 5 for row in stopped)


def test_of_equal_scores_the_lowest_loss_wins(search, monkeypatch):
    def train(search, config, folder, validation):
        validation.score, validation.loss = 0.5, abs(int(folder.parent.name) - 3)

    monkeypatch.setattr(Search, "train", train)
    tuned = search(trials=4)
    search_all([tuned], lambda line: None)
    assert tuned.best.user_attrs["number"] == 3


@contextmanager
def held_by_another_process(folder):
    """Keep the lock of a folder in a process that is killed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    script = "import fcntl, time; file = open('.lock', 'a'); fcntl.lockf(file, fcntl.LOCK_EX); print(1); time.sleep(99)"
    command = [sys.executable, "-uc", script]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_a_running_trial_is_left_to_its_process_until_that_is_killed(search):
    tuned = search(trials=3)
    with held_by_another_process(tuned.folder_of(1)):
        tuned.ask(1)
        assert has_writer(tuned.folder_of(1))
        assert tuned.run_next()
        assert tuned.run_next()
        assert not tuned.run_next()
        assert [row["trial"] for row in tuned.rows()] == [2, 3]
        assert tuned.unfinished
    assert not has_writer(tuned.folder_of(1))
    assert tuned.unfinished
    search_all([tuned], lambda line: None)
    assert not tuned.unfinished
    assert [row["trial"] for row in tuned.rows()] == [1, 2, 3]
    assert [trial.state for trial in tuned.study.trials].count(TrialState.FAIL) == 1


def test_a_folder_that_stays_locked_is_named(search, monkeypatch):
    tuned = search(trials=1)
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    with (
        held_by_another_process(tuned.root),
        pytest.raises(UserError, match=r"another process has locked .*root for 0.1 seconds; end that process, or"),
    ):
        search_all([tuned], lambda line: None)


def test_databases_that_cannot_be_used_are_named(search, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    root = tmp_path / "root"
    root.mkdir()
    (root / "study.db").write_bytes(b"not a database " * 100)
    with pytest.raises(UserError, match=r"root/study.db cannot be used: file is not a database; it is damaged, or"):
        open_storage(root)
    (root / "study.db").unlink()
    (root / "study.db").mkdir()
    with pytest.raises(
        UserError, match=r"unable to open database file; it is a folder, or you may not open it: choose"
    ):
        open_storage(root)
    (root / "study.db").rmdir()
    tuned = search(trials=1, storage=open_storage(root))
    with sqlite3.connect(root / "study.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"root/study.db has been locked by another process for 0.1 seconds; end"):
            search_all([tuned], lambda line: None)
        other.execute("ROLLBACK")
    other.close()
    search_all([tuned], lambda line: None)  # the trial that was lost is made again
    assert len(tuned.rows()) == 1


def test_an_empty_database_does_not_replace_trials(tmp_path):
    (tmp_path / "study.db").touch()
    open_storage(tmp_path)  # the process that made it was killed before its first trial
    (tmp_path / "trials.csv").write_text("model,task")
    open_storage(tmp_path)
    (tmp_path / "study.db").write_bytes(b"")
    with pytest.raises(UserError, match=r"study.db is empty, but .* contains trials: choose another folder=..., or"):
        open_storage(tmp_path)
    assert (tmp_path / "study.db").read_bytes() == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"space": RATES | {"optimizer.lr": {"low": 1e-3, "high": 1}}},
            r"optimizer.lr \(was searched from 0.001 to 0.1 \(log\), now searched from 0.001 to 1.0\)",
        ),
        (
            {"space": {"optimizer.lr": RATES["optimizer.lr"]}},
            r"model.num_layers \(was searched from 1 to 3, now left out\)",
        ),
        ({"seeds": (102,)}, r"seeds \(was \[101\], now \[102\]\)"),
        ({"words": ("task=adding", "trainer.max_steps=9")}, r"trainer.max_steps \(was 1500, now 9\)"),
    ],
)  # fmt: skip
def test_a_study_with_other_settings_is_not_mixed_with_this_one(search, change, message):
    search(trials=1)
    with pytest.raises(
        UserError, match=f"root contains a search for manual_rnn on adding with other settings: {message}"
    ):
        search(trials=1, **change)


@pytest.mark.parametrize(
    ("setting", "node", "message"),
    [
        ("model.heads", {"choices": [1, 2]}, "model.heads is not a setting"),
        ("optimizer.lrr", {"low": 1, "high": 2}, r"optimizer.lrr is not a setting; did you mean 'lr'\?"),
        ("optimizer", {"choices": ["adam", "adan"]}, "optimizer=adan: there is no such optimizer; did you mean 'adam'"),
        ("optimizer.lr", {"low": -1, "high": 1}, "Invalid learning rate: -1"),
    ],
)
def test_a_setting_that_does_not_exist_is_named_before_anything_is_run(setting, node, message, tmp_path):
    expected = rf"manual_rnn on adding cannot be searched in this space: .*{message}"
    with pytest.raises(UserError, match=expected):
        Search(["task=adding"], distributions("own", {setting: node}), Budget(9, (101,), True), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trials=0"], "trials should be a positive whole number, got 0"),
        (["seed=101"], "seed=101: trials use the tuning seeds, seeds=[101]"),
        (["match=5000", "space=sizes"], "match sets model.hidden_size, which the space searches"),
        (["space=rate"], "space=rate: there is no such space; did you mean 'rates'?"),
        (["model=manual_rnn,manul_gru"], "model=manul_gru: there is no such model; did you mean 'manual_gru'?"),
        (["~model.backend"], "~model.backend: tune cannot leave out a setting"),
        (["~space.optimizer", "~space.trainer"], "space=rates should name settings to search, such as optimizer.lr"),
        (["~space.optimizer.rl"], "space.optimizer.rl"),
        (["trails=3"], "trails is not a setting; did you mean 'trials'?"),
        (["folder=file/new"], "folder=file/new: file is a file"),
        (["folder="], "folder should name a folder to write to, such as outputs/tune/mine, got ''"),
        (["folder=null"], "folder should name a folder to write to, such as outputs/tune/mine, got null"),
        (["seeds=1"], "each of seeds should be above 100 and below 2^32, got 1"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_made(tmp_path, type_command, words, message):
    (tmp_path / "file").touch()
    code, _, errors = type_command(*words, verb="tune")
    assert code == 1
    assert message in errors
    assert errors.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("trials", "many", "trials should be a positive whole number, got 'many'"),
        ("jobs", 0, "jobs should be a positive whole number, got 0"),
        ("jobs", 99999, "jobs=99999 with threads=1 needs more than the"),
        (
            "seeds",
            [1],
            "each of seeds should be above 100 and below 2^32, got 1: results are reported with lower seeds",
        ),
        ("seeds", [], "seeds should be a list with at least one entry, got []"),
        ("seeds", 101, "seeds should be a list with at least one entry, got 101"),
        ("seeds", [101, 101], "seeds should all be different, got [101, 101]"),
        ("seeds", ["a"], "each of seeds should be a non-negative whole number, got 'a'"),
        ("models", ["nn_rnn", "nn_rnn"], "models should all be different, got ['nn_rnn', 'nn_rnn']"),
        ("prune", "perhaps", "prune should be True or False, got 'perhaps'"),
        ("match", "parameter", "match should be 'parameters', a number of parameters such as 5000, or null"),
        ("resume", "run", "resume= continues a single run"),
        ("trainer.devices", 2, "trainer.devices should be 1, got 2"),
        ("folder", __file__, "is a file"),
        ("folder", "a?b", "folder=a?b should not contain a question mark"),
    ],
)
def test_a_wrong_value_is_named(name, value, message):
    config = composed_for_tune().copy()
    OmegaConf.update(config, name, value)
    with pytest.raises(UserError, match=re.escape(message)):
        tune.check(config)


@functools.cache
def composed_for_tune():
    return compose(config_name="tune")


def test_the_setting_that_the_readme_adds_has_an_effect(tmp_path, type_command):
    readme = (ROOT / "seqmodels" / "experiments" / "README.md").read_text()
    (added,) = re.findall(r"`('\+space\.[^`]*)`", readme)
    code, shown, _ = type_command(*shlex.split(added), "task=adding", "trials=1", "folder=tuned", *TINY, verb="tune")
    assert code == 0
    assert shown.startswith("1 trial for each model on each task, each of at most 20 steps")
    assert rows_of(tmp_path / "tuned")[0]["model.dropout"] == "0.0"
    config = read_config(tmp_path / "tuned" / "manual_rnn_adding" / "001" / "101" / "config.yaml")
    assert config["model"]["num_layers"] > 1  # dropout acts between layers


def test_help_lists_the_spaces_and_the_settings_of_a_run(type_command):
    code, shown, _ = type_command("--help", verb="tune")
    assert code == 0
    assert "space: rates, schedules, sizes" in shown
    assert "trials: 30 " in shown
    assert "optimizer: adam, adamw, sgd" in shown


def test_without_optuna_the_message_says_what_to_install(type_command, monkeypatch):
    monkeypatch.setattr(tune, "find_spec", lambda name: None)
    code, _, errors = type_command("task=adding", verb="tune")
    assert (code, errors) == (1, "error: seqmodels tune needs Optuna: pip install 'seqmodels[tune]'\n")


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("model=a,b", ["model=a", "models=[a,b]"]),
        ("model=[a, b]", ["model=a", "models=[a,b]"]),
        ("task=[a]", ["task=a"]),
        ("models=a,b", ["models=[a,b]"]),
        ("model=a", ["model=a"]),
        ("models=a", ["models=[a]"]),
        ("seeds=101", ["seeds=[101]"]),
        ("seeds=range(101,104)", ["seeds=range(101,104)"]),
        ("model.hidden_size=3", ["model.hidden_size=3"]),
        ("seeds=[101,102]", ["seeds=[101,102]"]),
    ],
)
def test_several_models_need_no_quotes(word, words):
    assert tune.spelt_out(word) == words


def started(*words, folder):
    """The command, as a process."""
    command = [sys.executable, "-m", "seqmodels", "tune", *words, *TINY, "task=adding", "folder=root"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_trials(count, folder):
    last = time.monotonic() + 120
    while len(list(folder.glob("root/manual_rnn_adding/*/101/config.yaml"))) < count:
        assert time.monotonic() < last
        time.sleep(0.05)


def test_two_processes_share_a_search(tmp_path):
    """With a range changed on the command line, and one left out."""
    words = ["trials=2", f"jobs={min(2, available_cores())}", "~space.trainer.gradient_clip_val"]
    with started(*words, "space.optimizer.lr.high=1e-2", folder=tmp_path) as process:
        shown, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    rows = rows_of(tmp_path / "root")
    assert [(row["trial"], row["end"]) for row in rows] == [("1", "finished"), ("2", "finished")]
    assert all(0 < float(row["optimizer.lr"]) <= 1e-2 for row in rows)
    assert "trainer.gradient_clip_val" not in rows[0]
    assert "experiment=manual_rnn_adding" in shown
    assert (tmp_path / "root" / "experiment" / "manual_rnn_adding.yaml").exists()
    assert not list(tmp_path.rglob(".lock"))


@pytest.mark.slow
def test_killed_and_continued_by_two_processes_at_once(tmp_path):
    with started("trials=20", folder=tmp_path) as first:
        wait_for_trials(9, tmp_path)
        first.kill()
    second, third = (started("trials=20", folder=tmp_path) for _ in range(2))
    shown = [process.communicate(timeout=300) for process in (second, third)]
    assert [process.returncode for process in (second, third)] == [0, 0]
    assert [errors for _, errors in shown] == ["", ""]
    rows = rows_of(tmp_path / "root")
    assert [int(row["trial"]) for row in rows] == list(range(1, 21))
    study = optuna.load_study(study_name="manual_rnn_adding", storage=f"sqlite:///{tmp_path / 'root' / 'study.db'}")
    ended = [trial for trial in study.trials if trial.state != TrialState.FAIL]
    assert sorted(trial.user_attrs["number"] for trial in ended) == list(range(1, 21))
    assert len(study.trials) in (20, 21)  # the one that was killed, unless it was between two
    assert not list(tmp_path.rglob(".lock"))


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_says_how_to_continue(tmp_path):
    with started("trials=200", "jobs=2", folder=tmp_path) as process:
        wait_for_trials(6, tmp_path)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors == "error: stopped by Ctrl-C; the same command continues in root\n"
    made = len(list(tmp_path.rglob("config.yaml")))
    assert not list(tmp_path.rglob(".lock"))
    time.sleep(3)
    assert len(list(tmp_path.rglob("config.yaml"))) == made
