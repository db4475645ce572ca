"""Claims: the verdicts, resuming, and that what the experiments say can be read and run."""

import csv
import json
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from seqmodels import claims
from seqmodels.claims import Arm, Claim, Job, main, read_claims
from seqmodels.config import UserError

CLAIMS = read_claims()
TINY = ["trainer.max_steps=20", "model.hidden_size=4", "data.batch_size=4", "task.length=12"]


@pytest.fixture
def claim(tmp_path, monkeypatch):
    """The only claim there is: two arms of two seeds, whose runs are made by hand."""
    arms = [
        Arm("gru", ["model=manual_gru"], 5e-5, "at_most", 0.01),
        Arm("rnn", ["model=manual_rnn"], 0.17, "within", 0.02),
    ]
    claim = Claim("adding_gru", "A GRU adds.", "a paper", "Shorter.", "test", [1, 2], 1, arms)
    monkeypatch.setattr(claims, "read_claims", lambda: {claim.name: claim})
    monkeypatch.setattr(Job, "run", lambda job: pytest.fail(f"{job} was run"))
    return claim


def leave_result(job, score, **settings):
    job.folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.merge(job.config, settings), job.folder / "config.yaml")
    result = {"metric": "mse", "test": score, "unseen": None, "seconds": 30.0}
    (job.folder / "result.json").write_text(json.dumps(result))


def table_in(folder):
    with (folder / "claims.csv").open() as file:
        return {row["arm"]: row for row in csv.DictReader(file)}


def test_the_table_says_what_holds(claim, tmp_path, capsys):
    for job, score in zip(claim.jobs(tmp_path), [0.001, 0.002, 0.17, 0.18], strict=True):
        leave_result(job, score)
    main(["--folder", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "4 of 4 runs are there already" in shown
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


def test_one_seed_is_enough_for_a_claim_not_to_hold_and_that_is_no_error(claim, tmp_path, capsys):
    for job, score in zip(claim.jobs(tmp_path), [0.001, 0.011, 0.17, 0.18], strict=True):
        leave_result(job, score)
    main(["--folder", str(tmp_path), "--markdown"])
    shown = capsys.readouterr().out
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


def test_a_run_that_fails_leaves_its_arm_without_a_verdict(claim, tmp_path, capsys, monkeypatch):
    def run(job):
        if job.arm.name == "gru" and job.seed == 2:
            raise UserError(f"{job}: training diverged")
        leave_result(job, 0.001)
        return f"{job}: done"

    monkeypatch.setattr(Job, "run", run)
    with pytest.raises(SystemExit) as stop:
        main(["--folder", str(tmp_path)])
    assert stop.value.code == 1
    assert "error: adding_gru, gru, seed 2: training diverged" in capsys.readouterr().err
    table = table_in(tmp_path)
    assert (table["gru"]["verdict"], table["gru"]["runs"]) == ("missing", "1")
    assert table["rnn"]["verdict"] == "does not hold"  # .001 is far from the published .17


def test_the_table_alone_runs_nothing(claim, tmp_path, capsys):
    for job in claim.jobs(tmp_path)[:3]:
        leave_result(job, 0.001)
    main(["--folder", str(tmp_path), "--table"])
    table = table_in(tmp_path)
    assert (table["gru"]["verdict"], table["rnn"]["verdict"]) == ("holds", "missing")
    assert "Verdict: missing." in (tmp_path / "claims.md").read_text()


def test_it_goes_on_where_it_stopped(claim, tmp_path, monkeypatch):
    through, interrupted, *_ = claim.jobs(tmp_path)
    leave_result(through, 0.001)
    leave_result(interrupted, 0.5)
    (interrupted.folder / "result.json").unlink()
    ran = []
    monkeypatch.setattr(Job, "run", lambda job: (ran.append(str(job)), leave_result(job, 0.17))[0])
    main(["--folder", str(tmp_path)])
    assert sorted(ran) == [f"adding_gru, {arm}" for arm in ("gru, seed 2", "rnn, seed 1", "rnn, seed 2")]
    main(["--folder", str(tmp_path)])
    assert len(ran) == 3


def test_words_may_change_without_another_run_but_settings_may_not(claim, tmp_path, capsys):
    for job in claim.jobs(tmp_path):
        leave_result(job, 0.001, claim="other words", published=None)
    main(["--folder", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main(["--folder", str(tmp_path), "task.length=7"])
    assert stop.value.code == 1
    complaint = capsys.readouterr().err
    assert f"{tmp_path / 'adding_gru' / 'gru' / '1'} holds a run with another config" in complaint
    assert (tmp_path / "adding_gru" / "gru" / "1" / "result.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["adding_gur"], "adding_gur is no claim; did you mean 'adding_gru'?"),
        (["model.hiden_size=3"], "did you mean 'hidden_size'?"),
        (["--seeds", "one"], "--seeds should be whole numbers such as 1,2,3, got 'one'"),
        (["--jobs", "0"], "--jobs should be 1 or more, got 0"),
        (["--jobs", "all"], "argument --jobs: invalid int value: 'all'"),
        (["--tabel"], "unrecognized arguments: --tabel"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_run(claim, tmp_path, capsys, words, message):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--folder", str(tmp_path / "new")])
    assert stop.value.code == 1
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_the_list_names_each_claim(capsys):
    main(["--list"])
    shown = capsys.readouterr().out
    assert len(CLAIMS) > 5
    assert all(f"{name}: {claim.sentence}" in shown for name, claim in CLAIMS.items())


@pytest.mark.parametrize("name", CLAIMS)
def test_each_claim_can_be_run_and_judged(name, tmp_path):
    """Its arms compose, and what is compared is something that a run of it measures."""
    claim = CLAIMS[name]
    assert claim.source
    assert claim.differs
    assert len(set(claim.seeds)) == len(claim.seeds) > 1
    assert max(claim.seeds) < 100  # the others are for tuning
    for job in claim.jobs(tmp_path):
        config = job.config
        assert config.claim == claim.sentence
        assert config.seed == job.seed
        assert claim.metric == "test" or (claim.metric == "unseen" and min(config.task.test_lengths) > 40)
    for arm in claim.arms:
        assert isinstance(arm.figure, float | str)
        assert arm.name.replace("_", "").isalnum()


@pytest.mark.parametrize(
    "node",
    [
        {"overrides": [], "figure": 1.0},
        {"overrides": [], "figure": 1.0, "at_least": 1, "at_most": 2},
        {"overrides": [], "figure": 1.0, "at_lest": 1},
        {"overrides": [], "figure": "solved", "within": 1},
    ],
)
def test_an_arm_has_one_rule(node):
    with pytest.raises(ValueError, match="arm rnn should have"):
        Arm.read("rnn", node)


def test_a_claim_is_run_in_processes_of_its_own(tmp_path, capsys, monkeypatch):
    claim = CLAIMS["copy_guess"]
    monkeypatch.setattr(claims, "read_claims", lambda: {claim.name: replace(claim, arms=claim.arms[:1])})
    words = ["copy_guess", *TINY, "--seeds", "7", "--folder", str(tmp_path)]
    main(words)
    assert "[1/1] copy_guess, rnn, seed 7: test cross_entropy" in capsys.readouterr().out
    folder = tmp_path / "copy_guess" / "rnn" / "7"
    assert json.loads((folder / "result.json").read_text())["steps"] == 20
    assert "cross_entropy" in (folder / "log.txt").read_text()
    main(words)
    assert "1 of 1 runs are there already" in capsys.readouterr().out
