"""Claims: the verdicts, resuming, and that what the experiments say can be read and run."""

import csv
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from children import processes_below, until
from omegaconf import OmegaConf

from seqmodels.experiments import claims
from seqmodels.experiments.claims import Arm, Claim, read_claims
from seqmodels.experiments.sweeps import jobs
from seqmodels.experiments.sweeps.sweep import Composer, placed

CLAIMS = read_claims()
TINY = 'overrides=["trainer.max_steps=20","model.hidden_size=4","data.batch_size=4","task.length=12"]'


def runs_of(claim, folder, *overrides):
    return placed([run for runs in claim.runs(Composer(), overrides).values() for run in runs], folder)


@pytest.fixture
def claim(tmp_path, monkeypatch):
    """The only claim there is: two arms of two seeds, whose runs are made by hand."""
    arms = [
        Arm("gru", ["model=manual_gru"], 5e-5, "at_most", 0.01),
        Arm("rnn", ["model=manual_rnn"], 0.17, "within", 0.02),
    ]
    claim = Claim("adding_gru", "A GRU adds.", "a paper", "Shorter.", "test", [1, 2], 1, arms)
    monkeypatch.setattr(claims, "read_claims", lambda folders: {claim.name: claim})
    monkeypatch.setattr(jobs, "find_mistakes", lambda runs, jobs: None)
    monkeypatch.setattr(jobs, "start", lambda run, context: pytest.fail(f"{run.name} was run"))
    return claim


@pytest.fixture
def imitated(monkeypatch):
    """Let a function do what the process of a run would have done: it leaves a result, or returns a message."""

    def imitated(function):
        def start(run, context):
            receiver, sender = multiprocessing.Pipe(duplex=False)
            message = function(run)
            sender.send(("failed", message) if message else ("done", ""))
            process = SimpleNamespace(sentinel=receiver, is_alive=lambda: False)
            return jobs.Going(run, process, receiver, time.monotonic())

        monkeypatch.setattr(jobs, "start", start)

    return imitated


def leave_result(run, score, changes=(), **settings):
    run.folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.merge(run.config, settings), run.folder / "config.yaml")
    result = {
        "task": run.config.task_name, "model": run.config.model_name, "seed": run.config.seed, "metric": "mse",
        "test": score, "unseen": None, "chance": 0.17, "solved": False, "steps": 20, "steps_per_second": 10.0,
        "parameters": 9, "seconds": 30.0,
    }  # fmt: skip
    (run.folder / "result.json").write_text(json.dumps(result | dict(changes)))


def table_in(folder):
    with (folder / "claims.csv").open() as file:
        return {row["arm"]: row for row in csv.DictReader(file)}


def test_the_table_says_what_holds(claim, tmp_path, type_command):
    for run, score in zip(runs_of(claim, tmp_path), [0.001, 0.002, 0.17, 0.18], strict=True):
        leave_result(run, score)
    code, shown, _ = type_command(f"folder={tmp_path}", verb="claims")
    assert code == 0
    assert "4 of 4 runs have finished already" in shown
    assert "holds" in shown
    table = table_in(tmp_path)
    assert {row["verdict"] for row in table.values()} == {"holds"}
    assert float(table["rnn"]["mean"]) == pytest.approx(0.175)
    assert float(table["rnn"]["spread"]) == pytest.approx(0.00707, rel=1e-3)
    assert float(table["rnn"]["minutes"]) == 1.0
    assert table["gru"]["scores"] == "0.001 0.002"
    text = (tmp_path / "claims.md").read_text()
    assert "| adding_gru | rnn | test mse | 0.17 | 0.175 ± 0.0071 (2) | mean within ± 0.02 | holds | 1.0 |" in text
    assert "**adding_gru**: A GRU adds. (a paper) Shorter. Verdict: holds." in text


def test_one_seed_is_enough_for_a_claim_not_to_hold_and_that_is_no_error(claim, tmp_path, type_command):
    for run, score in zip(runs_of(claim, tmp_path), [0.001, 0.011, 0.17, 0.18], strict=True):
        leave_result(run, score)
    code, shown, _ = type_command(f"folder={tmp_path}", "markdown=true", verb="claims")
    assert code == 0
    assert (
        "| adding_gru | gru | test mse | 5e-05 | 0.006 ± 0.0071 (2) | every seed ≤ 0.01 | does not hold | 1.0 |"
        in shown
    )
    assert "Verdict: does not hold." in shown
    assert table_in(tmp_path)["rnn"]["verdict"] == "holds"


@pytest.mark.parametrize(
    ("rule", "scores", "holds"),
    [
        ("at_least", [0.5, 0.6], True),
        ("at_least", [0.49, 0.9], False),
        ("at_most", [0.5, 0.4], True),
        ("at_most", [0.51, 0.1], False),
        ("within", [0.0, 2.0], True),  # their mean is
        ("within", [0.0, 0.4], False),
    ],
)
def test_rules(rule, scores, holds):
    assert Arm("an arm", [], 1.0, rule, 0.5).holds(scores) is holds


def test_a_run_that_fails_leaves_its_arm_without_a_verdict(claim, tmp_path, type_command, imitated):
    def function(run):
        if run.name == "adding_gru, gru, seed 2":
            return "no memory is left"
        leave_result(run, 0.001)

    imitated(function)
    code, shown, errors = type_command(f"folder={tmp_path}", verb="claims")
    assert code == 1
    assert "[2/4] adding_gru, gru, seed 2: no memory is left" in shown
    assert errors == "error: [adding_gru, gru, seed 2] no memory is left\nerror: 1 of 4 runs failed\n"
    table = table_in(tmp_path)
    assert (table["gru"]["verdict"], table["gru"]["runs"]) == ("missing", "1")
    assert table["rnn"]["verdict"] == "does not hold"  # 0.001 is far from the published 0.17
    states = [run["state"] for run in json.loads((tmp_path / "sweep.json").read_text())["runs"]]
    assert states == ["done", "failed", "done", "done"]


def test_the_table_alone_runs_nothing(claim, tmp_path, type_command):
    for run in runs_of(claim, tmp_path)[:3]:
        leave_result(run, 0.001)
    assert type_command(f"folder={tmp_path}", "table=true", verb="claims")[0] == 0
    table = table_in(tmp_path)
    assert (table["gru"]["verdict"], table["rnn"]["verdict"]) == ("holds", "missing")
    assert "Verdict: missing." in (tmp_path / "claims.md").read_text()


def test_it_continues_where_it_stopped(claim, tmp_path, type_command, imitated):
    through, interrupted, *_ = runs_of(claim, tmp_path)
    leave_result(through, 0.001)
    leave_result(interrupted, 0.5)
    (interrupted.folder / "result.json").unlink()
    ran = []
    imitated(lambda run: (ran.append(run.name), leave_result(run, 0.17))[1])
    assert type_command(f"folder={tmp_path}", verb="claims")[0] == 0
    assert sorted(ran) == [f"adding_gru, {arm}" for arm in ("gru, seed 2", "rnn, seed 1", "rnn, seed 2")]
    assert type_command(f"folder={tmp_path}", verb="claims")[0] == 0
    assert len(ran) == 3


def test_words_may_change_without_another_run_and_other_settings_have_other_folders(
    claim, tmp_path, type_command, imitated
):
    for run in runs_of(claim, tmp_path):
        leave_result(run, 0.001, claim="other words", published=None)
    assert type_command(f"folder={tmp_path}", verb="claims")[0] == 0
    ran = []
    imitated(lambda run: (ran.append(run.folder), leave_result(run, 0.17))[1])
    assert type_command(f"folder={tmp_path}", 'overrides=["task.length=7"]', verb="claims")[0] == 0
    assert len(set(ran)) == 4
    assert len(list(tmp_path.rglob("result.json"))) == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adding_gur"], "there is no claim adding_gur; did you mean 'adding_gru'?"),
        (['overrides=["model.hiden_size=3"]'], "did you mean 'hidden_size'?"),
        (["overrides=task.length"], "overrides should be a list, got 'task.length'"),
        (["seeds=[one]"], "seeds should be a non-negative whole number, got 'one'"),
        (["seeds=1"], "seeds should be a list, got 1"),
        (["jobs=0"], "jobs should be a positive whole number, got 0"),
        (["jobs=all"], "jobs should be a positive whole number, got 'all'"),
        (["table=perhaps"], "table should be True or False, got 'perhaps'"),
        (["tabel=true"], "tabel is not a setting; did you mean 'table'?"),
        (["--tabel"], "unrecognized arguments: --tabel"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_run(claim, tmp_path, type_command, words, message):
    code, _, complaint = type_command(*words, "folder=new", verb="claims")
    assert code == 1
    assert message in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_list_names_each_claim_and_writes_nothing(type_command, tmp_path):
    code, shown, _ = type_command("list=true", verb="claims")
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    assert len(CLAIMS) > 5
    assert all(f"{name}: {claim.sentence}" in shown for name, claim in CLAIMS.items())


def longest(config):
    """The longest sequence in training."""
    length = config.task.length
    return length if isinstance(length, int) else max(length)


@pytest.mark.parametrize("name", CLAIMS)
def test_each_claim_can_be_run_and_judged(name, tmp_path):
    """Its arms compose, and what is compared is something that a run of it measures."""
    claim = CLAIMS[name]
    assert claim.source
    assert claim.differs
    assert len(set(claim.seeds)) == len(claim.seeds) > 1
    assert max(claim.seeds) < 100  # the others are for tuning
    for run in runs_of(replace(claim, seeds=claim.seeds[:1]), tmp_path):
        config = run.config
        assert config.claim == claim.sentence
        assert run.name.endswith(f"seed {config.seed}")
        assert claim.metric == "test" or (claim.metric == "unseen" and max(config.task.test_lengths) > longest(config))
    for arm in claim.arms:
        assert isinstance(arm.value, float | str)
        assert arm.name.replace("_", "").isalnum()


@pytest.mark.parametrize(
    "node",
    [
        {"overrides": [], "value": 1.0},
        {"overrides": [], "value": 1.0, "at_least": 1, "at_most": 2},
        {"overrides": [], "value": 1.0, "at_lest": 1},
        {"overrides": [], "value": "solved", "within": 1},
    ],
)
def test_an_arm_has_one_rule(node):
    with pytest.raises(ValueError, match="arm rnn "):
        Arm.read("rnn", node)


def test_a_claim_is_run_in_processes_of_its_own(tmp_path, type_command, monkeypatch):
    claim = CLAIMS["copy_chance"]
    monkeypatch.setattr(claims, "read_claims", lambda folders: {claim.name: replace(claim, arms=claim.arms[:1])})
    words = ["copy_chance", TINY, "seeds=[7]", f"folder={tmp_path}"]
    code, shown, _ = type_command(*words, verb="claims")
    assert code == 0
    assert "[1/1] copy_chance, rnn, seed 7: test cross_entropy" in shown
    (folder,) = (tmp_path / "copy_memory").glob("*/*-seed7")
    assert json.loads((folder / "result.json").read_text())["steps"] == 20
    assert "cross_entropy" in (folder / "log.txt").read_text()
    assert "1 of 1 runs have finished already" in type_command(*words, verb="claims")[1]


def test_a_result_that_belongs_to_another_run_is_named_and_not_judged(claim, tmp_path, type_command):
    first, second, third, fourth = runs_of(claim, tmp_path)
    leave_result(first, 0.001)
    leave_result(second, 0.001, {"seed": 7})
    leave_result(third, 0.17, {"model": "man\x1bual_gru"})
    leave_result(fourth, 0.17)
    (fourth.folder / "result.json").write_text("{")
    code, _, errors = type_command(f"folder={tmp_path}", "table=true", verb="claims")
    assert code == 0
    assert {(row["runs"], row["verdict"]) for row in table_in(tmp_path).values()} == {
        ("1", "missing"),
        ("0", "missing"),
    }
    left_out = errors.splitlines()
    assert len(left_out) == 3
    assert "its seed is 7, but 2 in the config beside it" in left_out[0]
    assert r"its model is man\x1bual_gru, but manual_rnn in the config beside it" in left_out[1]
    assert "is not JSON" in left_out[2]
    (first.folder / "result.json").write_text("[]")
    code, _, errors = type_command(f"folder={tmp_path}", "table=true", verb="claims")
    assert code == 1
    assert errors.endswith(f"error: none of the 4 results in {tmp_path} can be judged\n")


def test_the_text_of_a_result_is_shown_as_text(claim, tmp_path, type_command):
    for run in runs_of(claim, tmp_path):
        leave_result(run, 0.001, {"metric": "[red]\x1b[2J|"})
    code, shown, _ = type_command(f"folder={tmp_path}", "table=true", verb="claims")
    assert code == 0
    assert r"test [red]\x1b[2J|" in shown
    assert r"| test \[red\]\\x1b\[2J\| |" in (tmp_path / "claims.md").read_text()
    assert "\x1b" not in (tmp_path / "claims.csv").read_text()


def test_an_arm_with_a_run_that_diverged_does_not_hold(claim, tmp_path, type_command):
    for run, score in zip(runs_of(claim, tmp_path), [0.001, None, None, None], strict=True):
        leave_result(run, score)
    code, shown, _ = type_command(f"folder={tmp_path}", "table=true", "markdown=true", verb="claims")
    assert code == 0
    assert "| 0.001 (1, 1 diverged) | every seed ≤ 0.01 | does not hold |" in shown
    assert "| (0, 2 diverged) | mean within ± 0.02 | does not hold |" in shown
    assert table_in(tmp_path)["gru"]["scores"] == "0.001 diverged"


MINE = """# @package _global_
claim: A GRU adds.
defaults:
  - override /task: adding
{more}
published:
  source: a paper
  differs: It is shorter.
  metric: test
  seeds: [1, 2]
  minutes: 1
  arms:
    gru: {{overrides: [model=manual_gru], value: 5.0e-5, at_most: 0.01}}
"""


@pytest.fixture
def mine(tmp_path):
    """A folder of configs with an experiment of one's own, my_claim."""
    folder = tmp_path / "my_conf" / "experiment"
    folder.mkdir(parents=True)
    (folder / "my_claim.yaml").write_text(MINE.format(more=""))
    return folder


def test_a_claim_of_ones_own_is_judged_like_any_other(mine, type_command, tmp_path):
    words = ["--config-dir", str(mine.parent), "my_claim"]
    assert "my_claim: A GRU adds." in type_command(*words, "list=true", verb="claims")[1]
    tiny = TINY.replace(',"task.length=12"', "")
    code, _, complaint = type_command(*words, tiny, "seeds=[1]", "jobs=1", f"folder={tmp_path}", verb="claims")
    assert (code, complaint) == (0, "")
    assert table_in(tmp_path)["gru"]["verdict"] == "does not hold"
    code, _, complaint = type_command("my_claim", verb="claims")
    assert code == 1
    assert "there is no claim my_claim" in complaint


def test_a_run_of_ones_own_experiment_carries_its_claim(mine, type_command, tmp_path):
    words = ["--config-dir", str(mine.parent), "experiment=my_claim", "trainer=smoke", "logger=none"]
    for number, (typed, claim) in enumerate(
        [(["model=manual_gru", "task=adding"], "A GRU adds."), (["task=dyck"], None)]
    ):
        assert type_command(*words, *typed, f"hydra.run.dir=run{number}")[0] == 0
        assert json.loads((tmp_path / f"run{number}" / "result.json").read_text())["claim"] == claim


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("published: true\n", "published should have source, differs, metric, seeds, minutes, arms, got True"),
        (MINE.format(more="").replace("at_most", "at_mots"), "arm gru should have overrides, value and one of"),
        (MINE.format(more="").replace("[1, 2]", "[]"), "seeds should not be empty"),
        (MINE.format(more="").replace("metric: test", "metric: tset"), "did you mean 'test'?"),
        (MINE.format(more="").replace("A GRU adds.", ""), "claim should be a sentence, got None"),
        ("a: [", "my_claim.yaml: while parsing"),
    ],
)
def test_a_mistake_in_a_claim_of_ones_own_is_named(mine, type_command, text, message):
    (mine / "my_claim.yaml").write_text(text)
    code, _, complaint = type_command("--config-dir", str(mine.parent), "my_claim", "list=true", verb="claims")
    assert code == 1
    assert message in complaint
    assert complaint.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_run_outlives_the_command(stop, tmp_path):
    command = [sys.executable, "-m", "seqmodels", "claims", "copy_chance", "seeds=[7]", f"folder={tmp_path}", "jobs=2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as claims:
        try:
            until(lambda: len(list(tmp_path.rglob("checkpoints"))) == 2)
            assert len(processes_below(tmp_path)) == 2
            claims.send_signal(stop)
            claims.wait(70)
        finally:
            claims.kill()
    until(lambda: not processes_below(tmp_path), 60)
    assert len(list(tmp_path.rglob("config.yaml"))) == 2
    assert not list(tmp_path.rglob("result.json"))
