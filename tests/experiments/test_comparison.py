"""Comparisons of run folders written by hand, whose means, differences and faults are known."""

import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from report.tidy import assert_tidy

from seqmodels.checks import UserError
from seqmodels.experiments.comparisons.comparison import compare
from seqmodels.experiments.comparisons.folders import find_runs
from seqmodels.experiments.comparisons.output import drawn, markdown, write_comparison
from seqmodels.experiments.comparisons.results import read_runs
from seqmodels.files import digest_of
from seqmodels.report.place import place_of

TASKS = {"parity": ("accuracy", 0.5, 0.99), "adding": ("mse", 0.1, 0.001), "text": ("bits", 4.0, 2.0)}


def leave_run(
    root, model="rnn", task="parity", seed=1, score=0.7, settings="", config=None, curve=(0.6, 0.7), **changes
):
    """Write a run folder; `settings` are further lines of its config."""
    metric, chance, solved_at = TASKS[task]
    folder = root / task / model / f"{len(list(root.rglob('result.json')))}-seed{seed}"
    folder.mkdir(parents=True)
    if config is None:
        config = f"model:\n  _target_: layers.{model}\ntask:\n  _target_: tasks.{task}\ntrainer:\n  max_steps: 200\n"
        config += f"optimizer:\n  lr: 0.01\nseed: {seed}\n{settings}"
    solved = score is not None and place_of(score, chance, solved_at, metric) == 1
    result = {
        "task": task, "model": model, "seed": seed, "metric": metric, "validation": score, "test": score,
        "unseen": None, "chance": chance, "solved": solved,
        "solved_at": solved_at, "diverged_at": None, "steps": 200, "best_step": 200, "steps_per_second": 10.0,
        "seconds": 20.0, "parameters": 9, "finished": "2026-01-01T00:00:00+00:00", "git": "a" * 40, "lengths": [],
        "versions": {"seqmodels": "1", "torch": "2"}, "digests": {"config.yaml": digest_of(config.encode())},
    }  # fmt: skip
    (folder / "config.yaml").write_text(config)
    lines = [f"{step},{value},0.3,0.2" for step, value in zip((99, 199), curve, strict=False)]
    (folder / "metrics.csv").write_text("\n".join([f"step,val_{metric},val_loss,train_loss", *lines, "199,,,0.1", ""]))
    (folder / "result.json").write_text(json.dumps(result | changes))
    return folder


def compared(root, *by, **options):
    found = find_runs(root)
    return compare(found.runs, by or found.by, warnings=found.warnings, **options)


def row_of(table, **values):
    for name, value in values.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


def test_groups_and_differences_by_hand(tmp_path):
    rnn, gru = [0.6, 0.7, 0.8, 0.6, 0.7, 0.8, 0.65, 0.75], [0.99, 0.95, 0.97, 0.98, 0.96, 0.99, 1.0, 0.94]
    for seed, (one, other) in enumerate(zip(rnn, gru, strict=True), start=1):
        leave_run(tmp_path, "rnn", seed=seed, score=one)
        leave_run(tmp_path, "gru", seed=seed, score=other, parameters=27)
    comparison = compared(tmp_path, baseline="rnn")
    group = row_of(comparison.groups, model="gru")
    assert (group["seeds"], group["runs"], group["solved"], group["parameters"]) == (8, 8, 3, 27)
    assert group["mean"] == pytest.approx(np.mean(gru))
    assert min(gru) < group["low"] < group["mean"] < group["high"] < max(gru)
    assert (group["solved_low"], group["solved_high"]) == pytest.approx((0.0852, 0.7551), abs=1e-4)  # binomial tables
    (pair,) = comparison.pairs.to_dict("records")
    assert (pair["model"], pair["pairs"], pair["verdict"]) == ("gru", 8, "better")
    assert pair["difference"] == pytest.approx(np.mean(gru) - np.mean(rnn))
    assert (pair["p"], pair["p_holm"]) == pytest.approx((2 / 2**8, 2 / 2**8))
    assert math.isnan(pair["seeds_needed"])
    assert compared(tmp_path, baseline="gru").pairs["verdict"].tolist() == ["worse"]
    assert comparison.warnings == []


def test_a_smaller_error_is_better(tmp_path):
    for seed in range(1, 8):
        leave_run(tmp_path, "rnn", "adding", seed, 0.05 + seed / 1000)
        leave_run(tmp_path, "gru", "adding", seed, 0.01 + seed / 2000)
    comparison = compared(tmp_path, baseline="rnn")
    assert comparison.pairs["verdict"].tolist() == ["better"]
    assert comparison.pairs["difference"].item() < 0
    assert compared(tmp_path, baseline="gru").pairs["verdict"].tolist() == ["worse"]


def test_scores_that_differ_by_rounding_are_the_same(tmp_path):
    for seed in range(1, 9):
        leave_run(tmp_path, "rnn", "adding", seed, 0.05)
        leave_run(tmp_path, "twin", "adding", seed, 0.05 + 1e-8)
        leave_run(tmp_path, "other", "adding", seed, 0.05 + 1e-6)
    verdicts = compared(tmp_path, baseline="rnn").pairs.set_index("model")["verdict"]
    assert verdicts.to_dict() == {"twin": "same", "other": "worse"}


def test_more_comparisons_need_more_seeds(tmp_path):
    for seed in range(1, 7):
        leave_run(tmp_path, "rnn", seed=seed, score=0.6)
        for model in ("a", "b", "c"):
            leave_run(tmp_path, model, seed=seed, score=0.9 + seed / 100)
        leave_run(tmp_path, "twin", seed=seed, score=0.6)
    comparison = compared(tmp_path, baseline="rnn")
    pair = row_of(comparison.pairs, model="a")
    assert (pair["verdict"], pair["seeds_needed"]) == ("undecided", 8)
    assert pair["p_holm"] == pytest.approx(4 * pair["p"])
    assert row_of(comparison.pairs, model="twin")["verdict"] == "same"
    assert [warning for warning in comparison.warnings if "pairs" in warning] == [
        "With 4 comparisons, 6 pairs of runs can never show that two groups differ: 8 are needed."
    ]
    assert "about 8" in markdown(comparison)


def test_tasks_with_different_metrics_are_pooled_by_their_place(tmp_path):
    scores = {"parity": (0.745, 0.99), "adding": (0.01, 0.001), "text": (4.0, 2.0)}
    for task, (one, other) in scores.items():
        for seed in (1, 2, 3):
            leave_run(tmp_path, "rnn", task, seed, one)
            leave_run(tmp_path, "gru", task, seed, other)
    comparison = compared(tmp_path, "model", baseline="rnn")
    assert comparison.pooled
    assert row_of(comparison.groups, model="gru")["mean"] == 1
    assert row_of(comparison.groups, model="rnn")["mean"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    (pair,) = comparison.pairs.to_dict("records")
    assert (pair["pairs"], pair["verdict"]) == (9, "better")
    assert pair["p"] == pytest.approx(2 / 2**9)
    assert "place between chance (0) and solved (1; errors on a logarithmic scale)" in comparison.title
    assert not compared(tmp_path).pooled
    assert not [warning for warning in comparison.warnings if "same tasks" in warning]
    leave_run(tmp_path, "lru", "text", 1, 3.0)
    assert any("not over the same tasks. Groups without runs on some tasks: lru (adding, parity)." in warning
               for warning in compared(tmp_path, "model").warnings)  # fmt: skip


def test_different_metrics_of_one_task_are_not_averaged(tmp_path):
    for seed in range(1, 7):
        leave_run(tmp_path, seed=seed, score=0.99)
        leave_run(tmp_path, seed=seed, score=0.01, metric="mse", chance=0.1, solved_at=0.001, settings="loss: mse\n")
    comparison = compared(tmp_path)
    assert comparison.groups["mean"].item() == pytest.approx(0.75)
    assert comparison.pooled


def test_groups_by_any_setting(tmp_path):
    for seed in range(1, 7):
        for rate in ("0.1", "0.02", "0.003"):
            leave_run(tmp_path, seed=seed, score=0.6 + float(rate) + seed / 1000, settings=f"data:\n  rate: {rate}\n")
    comparison = compared(tmp_path, "data.rate", baseline="0.02")
    assert list(comparison.groups["data.rate"]) == ["0.003", "0.02", "0.1"]  # as numbers, not by their scores
    assert dict(zip(comparison.pairs["data.rate"], comparison.pairs["difference"].round(3), strict=True)) == {
        "0.003": -0.017, "0.1": 0.08,
    }  # fmt: skip
    assert comparison.groups["label"].tolist() == ["rate=0.003", "rate=0.02", "rate=0.1"]
    assert comparison.warnings == [
        "With 2 comparisons, 6 pairs of runs can never show that two groups differ: 7 are needed."
    ]
    both = compared(tmp_path, "model", "task", "data.rate", baseline="0.1")
    assert both.groups["label"].tolist() == ["rnn rate=0.003", "rnn rate=0.02", "rnn rate=0.1"]
    assert len(both.pairs) == 2


def test_a_run_that_diverged_counts_as_chance_or_worse(tmp_path):
    for seed in range(1, 7):
        leave_run(tmp_path, seed=seed, score=1.0)
    leave_run(tmp_path, seed=7, score=None, diverged_at=3, best_step=None, solved=False)
    leave_run(tmp_path, seed=8, score=1.0, diverged_at=190)  # it was solved before
    comparison = compared(tmp_path)
    group = row_of(comparison.groups, model="rnn")
    assert (group["solved"], group["diverged"]) == (6, 2)
    assert group["mean"] == pytest.approx((6 * 1.0 + 2 * 0.5) / 8)
    assert comparison.warnings == [
        "2 runs diverged, and count as unsolved, with the worst score of all runs on the task, or chance if that is "
        "worse."
    ]
    assert "diverged" in markdown(comparison)
    leave_run(tmp_path, "gru", seed=1, score=0.3)
    leave_run(tmp_path, "gru", "adding", seed=1, score=0.0)  # of another task, where less is better
    assert row_of(compared(tmp_path).groups, model="rnn")["mean"] == pytest.approx((6 * 1.0 + 2 * 0.3) / 8)


def test_a_group_of_runs_that_diverged_is_better_than_no_other(tmp_path):
    """Not than models that are worse than chance, whatever its runs had scored before they diverged."""
    for seed in range(1, 11):
        for task, best, worse in [("parity", 1.0, 0.1), ("adding", 0.0005, 0.9)]:
            leave_run(tmp_path, "bad", task, seed, best, diverged_at=100 + seed)
            leave_run(tmp_path, "rnn", task, seed, worse + seed / 1000)
            leave_run(tmp_path, "gru", task, seed, None, diverged_at=1)
    runs = find_runs(tmp_path).runs

    def verdicts(comparison):
        return comparison.pairs.groupby("model")["verdict"].agg(set).to_dict()

    assert verdicts(compare(runs, baseline="rnn")) == {"bad": {"worse"}, "gru": {"worse"}}
    assert verdicts(compare(runs, baseline="bad")) == {"gru": {"same"}, "rnn": {"better"}}
    assert verdicts(compare(runs, baseline="gru")) == {"bad": {"same"}, "rnn": {"better"}}
    pooled = compare(runs, ["model"], baseline="rnn")  # all places are 0
    assert verdicts(pooled) == {"bad": {"same"}, "gru": {"same"}}
    assert (pooled.runs["place"] == 0).all()
    assert not pooled.runs["solved"].any()


def test_of_repeated_runs_the_latest_counts(tmp_path):
    for seed in range(1, 7):
        leave_run(tmp_path, seed=seed, score=0.6, finished="2026-01-02T00:00:00+01:00")
        leave_run(tmp_path, seed=seed, score=0.8, finished="2026-01-02T00:00:00+00:00")  # an hour later
    leave_run(tmp_path, seed=1, score=0.7, finished="2026-01-01T00:00:00+00:00")
    comparison = compared(tmp_path)
    assert comparison.runs["score"].tolist() == [0.8] * 6
    assert comparison.warnings == [
        "7 runs were repeated later with the same settings and seed: only the latest counts."
    ]


def test_each_doubt_is_one_sentence(tmp_path):
    six = range(1, 7)
    for seed in six:
        leave_run(tmp_path, "rnn", seed=seed)
    assert compared(tmp_path).warnings == []

    def warnings(name, **changes):
        """The warnings about one more model, with these changes to its runs."""
        seeds = changes.pop("seeds", six)
        folders = [leave_run(tmp_path / name, "gru", seed=seed, **changes) for seed in seeds]
        old = sorted(file.parent for file in (tmp_path / "parity").rglob("result.json"))
        return compare(read_runs([*old, *folders])[0], baseline="rnn").warnings

    assert warnings("one", seeds=[1]) == [
        "1 of 2 groups has only one seed, which says nothing about other seeds, so there is no interval: "
        "6 seeds are needed.",
        "The groups have different numbers of seeds, from 1 to 6.",
        "With 1 comparison, 1 pair of runs can never show that two groups differ: 6 are needed.",
    ]
    assert (
        "With 5 seeds a 95 % interval covers the true mean at most about 94 % of the time"
        in warnings("five", seeds=range(1, 6))[0]
    )
    assert warnings("apart", seeds=range(2, 8)) == [
        "The groups have different seeds, so they were not trained and tested on the same data.",
        "With 1 comparison, 5 pairs of runs can never show that two groups differ: 6 are needed.",
        "1 run has no partner with the same seed in the baseline, and is left out of the differences.",
    ]
    assert warnings("settings", settings="data:\n  batch_size: 9\nthreads: 2\n") == [
        "The groups differ in more than what is compared: data.batch_size, threads."
    ]
    assert warnings("no_numbers", settings="data:\n  num_workers: 2\ncheckpoint:\n  steps: 3\nclaim: better\n") == []
    budget = "model:\n  _target_: a\ntrainer:\n  max_steps: 900\noptimizer:\n  lr: 0.01\n"
    assert warnings("budget", config=budget + "task:\n  _target_: tasks.parity\n") == [
        "Runs on the same task had different budgets: trainer.max_steps ranges from 200 to 900."
    ]
    assert warnings("version", versions={"seqmodels": "2", "torch": "2"}) == [
        "The runs were made with different versions of seqmodels: 1, 2."
    ]
    assert warnings("torch", versions={"seqmodels": "1", "torch": "3"}) == [
        "The runs were made with different versions of torch: 2, 3."
    ]
    assert warnings("dirty", git="a" * 40 + "-dirty") == [
        "6 runs used code with changes that were not committed.",
    ]
    assert warnings("commit", git="b" * 40) == [
        "The runs were made with different versions of the code (commits): aaaaaaaaaaaa, bbbbbbbbbbbb."
    ]


def test_runs_of_one_group_that_have_other_settings_are_no_repetitions(tmp_path):
    for seed in range(1, 7):
        for rate in (0.01, 0.5):
            leave_run(tmp_path, seed=seed, score=0.6 + rate / 10, config=f"optimizer:\n  lr: {rate}\n")
    comparison = compared(tmp_path)
    words = "by=[model,task,optimizer.lr]"
    assert comparison.warnings == [
        f"Runs of the same group differ in more than the seed: optimizer.lr; {words} tells them apart."
    ]
    assert compared(tmp_path, "model", "task", "optimizer.lr").warnings == []
    assert (comparison.groups["seeds"].item(), comparison.groups["runs"].item()) == (6, 12)
    assert comparison.groups["low"].item() == comparison.groups["high"].item() == pytest.approx(0.6255)  # seed means


def test_the_settings_of_models_belong_to_them(tmp_path):
    for seed in range(1, 7):
        leave_run(tmp_path, "rnn", seed=seed, config="model:\n  hidden_size: 4\n")
        leave_run(tmp_path, "gru", seed=seed, config="model:\n  heads: 2\n")
    assert compared(tmp_path).warnings == []
    leave_run(tmp_path, "gru", seed=7, config="model:\n  heads: 4\n")
    assert any("more than the seed: model.heads; by=" in warning for warning in compared(tmp_path).warnings)


def test_a_folder_of_several_sweeps_says_what_to_type(tmp_path):
    for seed in range(1, 7):
        for width, steps in ((8, 10), (8, 20), (16, 50)):
            config = f"model:\n  hidden_size: {width}\ntrainer:\n  max_steps: {steps}\n"
            leave_run(tmp_path, seed=seed, score=steps / 100, config=config)
    warnings = compared(tmp_path).warnings
    words = ["model", "task", "model.hidden_size", "trainer.max_steps"]
    assert any(f"; by=[{','.join(words)}] tells them apart." in warning for warning in warnings)
    apart = compared(tmp_path, *words)
    assert apart.groups["mean"].tolist() == pytest.approx([0.1, 0.2, 0.5])
    assert not any("the same group" in warning for warning in apart.warnings)


@pytest.mark.parametrize("names", [["a]; rm -rf ~; ["], [f"setting_{number}" for number in range(9)]])
def test_no_words_to_type_are_made_of_strange_or_many_settings(tmp_path, names):
    for seed in (1, 2):
        leave_run(tmp_path, seed=seed, config="".join(f'"{name}": {seed}\n' for name in names))
    (warning,) = [warning for warning in compared(tmp_path).warnings if "the same group" in warning]
    assert warning.endswith("; a folder with fewer runs, such as that of one sweep, tells them apart.")


def test_a_baseline_without_other_groups(tmp_path):
    for seed in range(1, 7):
        leave_run(tmp_path, seed=seed)
    assert compared(tmp_path, "optimizer.lr", baseline="0.01").warnings == [
        "All groups have optimizer.lr=0.01, so there is nothing to compare the baseline with."
    ]


def test_what_is_wrong_is_named_and_the_rest_is_compared(tmp_path, type_command):
    for seed in range(1, 7):
        leave_run(tmp_path / "runs", seed=seed)
    leave_run(tmp_path / "runs", seed=8, score=math.nan)
    leave_run(tmp_path / "runs", seed=9, test="0.7")
    (leave_run(tmp_path / "runs", seed=10) / "result.json").write_text('{"task": ')
    (leave_run(tmp_path / "runs", seed=11) / "result.json").unlink()
    (leave_run(tmp_path / "runs", seed=1, model="gru") / "metrics.csv").write_text("step,loss\n\x00")
    foreign = tmp_path / "runs" / "another program"
    foreign.mkdir()
    (foreign / "result.json").write_text('{"accuracy": 1}')
    code, shown, errors = type_command(f"folder={tmp_path / 'runs'}", verb="compare")
    assert code == 0
    assert sorted(line.partition(": ")[2].partition(": ")[2] for line in errors.splitlines())[1:] == [
        "task is not as a run writes it, got nothing",
        "test is not as a run writes it, got '0.7'",
    ]
    assert "is not JSON" in errors
    warnings = [line for line in shown.splitlines() if line.startswith("warning: ")]
    assert warnings[0].startswith("warning: 1 run has not finished: ")
    assert warnings[1].startswith(f"warning: 3 results could not be read, and are left out: {tmp_path / 'runs'}/")
    assert "another program" in warnings[1]
    assert warnings[2].startswith("warning: 1 run has no finite value of test, chance or solved, and is left out: ")
    assert warnings[3] == "warning: 1 run has no readable metrics.csv, and therefore no learning curve."
    table = pd.read_csv(tmp_path / "runs" / "comparison" / "runs.csv")
    assert table["seed"].tolist() == [1, 1, 2, 3, 4, 5, 6]


MISTAKES = {
    ("by=lr",): ["the runs have no such setting", "did you mean 'optimizer.lr'?"],
    ("by=nope",): ["no such setting; choose from model, task, model._target_, version, commit, "],
    ("by=modle",): ["by=modle", "did you mean 'model'?"],
    ("by=seed",): ["groups are compared over their seeds"],
    ("by=[]",): ["at least one setting"],
    ("by=model,model",): ["each only once"],
    ("baseline=rn",): ["no group is called that", "did you mean 'rnn'?", "one of: gru, rnn"],
    ("by=task", "baseline=parity"): ["no group is called that"],
    ("score=tests",): ["did you mean 'test'?"],
    ("score=unseen",): ["tested at no length that training did not have", "task.test_lengths=[20,40,80]"],
    ("folder=runs/gone",): ["folder=runs/gone: there is no such folder"],
    ("folder=",): ["folder should name a folder with runs, such as outputs, got ''"],
    ("folder=null",): ["folder should name a folder with runs, such as outputs, got null"],
    ("folder=empty",): ["expected finished runs in empty, found none"],
    ("folder=begun",): ["found only unfinished ones"],
    ("folder=broken",): ["none of the 1 results in broken can be compared", "is not JSON"],
    ("folder=sweep",): ["sweep.json: it is damaged: runs should be a list of runs with their folders", "typed again"],
}


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_one_message(tmp_path, type_command, words):
    leave_run(tmp_path / "runs", "rnn")
    leave_run(tmp_path / "runs", "gru")
    for name, file in {
        "empty": "notes.txt",
        "begun": "config.yaml",
        "broken": "result.json",
        "sweep": "sweep.json",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text('{"runs": 3}' if name == "sweep" else "{")
    before = sorted(tmp_path.rglob("*"))
    code, shown, errors = type_command(*(["folder=runs"] if "folder" not in words[0] else []), *words, verb="compare")
    assert (code, shown, errors.count("\n")) == (1, "", 1)
    for part in MISTAKES[words]:
        assert part in errors
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def no_pictures(monkeypatch):
    """For tests of what is written besides them: they take most of the time."""
    monkeypatch.setattr("seqmodels.experiments.comparisons.output.pictures", lambda *tables: {})


@pytest.mark.usefixtures("no_pictures")
def test_settings_can_be_typed_without_brackets(tmp_path, type_command):
    for seed in (1, 2):
        leave_run(tmp_path / "runs", seed=seed)
    for words in (["by=task,optimizer.lr", "baseline=0.01"], ["by=[task,optimizer.lr]"], ["by=model"]):
        code, shown, errors = type_command("folder=runs", *words, verb="compare")
        assert (code, errors) == (0, "")
        assert ("lr" in shown.splitlines()[2]) == ("lr" in words[0])
    assert "0 of 2 [0.00, 0.84]" in shown


def test_a_sweep_compares_the_runs_that_it_names(tmp_path):
    sweep = tmp_path / "sweeps" / "mine"
    sweep.mkdir(parents=True)
    folders = [leave_run(tmp_path, seed=seed) for seed in range(1, 8)]
    runs = [{"folder": f"../../parity/rnn/{folder.name}", "state": "done"} for folder in folders[:5]]
    runs.append({"folder": "../../parity/rnn/waiting", "state": "waiting"})
    runs += [{"folder": None, "state": "failed", "message": 1000 * "x"}] * 5000
    (sweep / "sweep.json").write_text(json.dumps({"runs": runs}))
    found = find_runs(sweep)
    assert (found.runs["seed"].tolist(), found.errors) == ([1, 2, 3, 4, 5], [])
    assert found.runs["folder"].tolist() == [str(folder) for folder in folders[:5]]
    assert found.warnings == [f"1 run has not finished: {tmp_path}/parity/rnn/waiting."]
    assert compare(found.runs, warnings=found.warnings).warnings[0] == found.warnings[0]


@pytest.mark.usefixtures("no_pictures")
def test_each_question_has_a_folder_of_its_own(tmp_path, type_command):
    """The page that a sweep has written stays, whatever else its runs are compared by."""
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    runs = []
    for rate in ("0.1", "0.2"):
        for model, width in (("rnn", 8), ("gru", 4)):  # the width belongs to the model
            for seed in (1, 2):
                config = f"optimizer:\n  lr: {rate}\nmodel:\n  hidden_size: {width}\n"
                folder = leave_run(tmp_path, model, seed=seed, score=float(rate), config=config, unseen=0.6)
                words = [f"model={model}", f"optimizer.lr={rate}", f"seed={seed}", f"model.hidden_size={width}"]
                runs.append({"folder": f"../{folder.relative_to(tmp_path)}", "overrides": words})
    (sweep / "sweep.json").write_text(json.dumps({"runs": runs}))
    assert find_runs(sweep).by == ["model", "task", "optimizer.lr"]

    def written(*words):
        before = set(sweep.iterdir())
        code, shown, _ = type_command("folder=sweep", *words, verb="compare")
        assert code == 0
        return [folder.name for folder in set(sweep.iterdir()) - before], shown.splitlines()[-1]

    assert written() == (["comparison"], "Tables and pictures are in sweep/comparison")
    assert pd.read_csv(sweep / "comparison" / "comparison.csv").columns[2] == "optimizer.lr"
    page = (sweep / "comparison" / "page.html").read_bytes()
    assert written("by=model")[0] == ["comparison-by-model"]
    assert written("by=model,task", "score=validation")[0] == ["comparison-by-model-task-validation"]
    assert (sweep / "comparison" / "page.html").read_bytes() == page
    assert written("baseline=rnn") == ([], "Tables and pictures are in sweep/comparison, in place of earlier ones")


@pytest.mark.usefixtures("no_pictures")
def test_what_is_damaged_in_a_sweep_is_named(tmp_path, type_command):
    folders = [leave_run(tmp_path / "runs", seed=seed) for seed in (1, 2, 3)]
    (folders[0] / "result.json").write_text("{")
    named = [{"folder": folder.relative_to(tmp_path / "runs").as_posix()} for folder in folders[:2]]
    sweep = tmp_path / "runs" / "sweep.json"
    sweep.write_text(json.dumps({"runs": named}))
    code, shown, errors = type_command("folder=runs", verb="compare")
    assert code == 0
    assert errors.startswith("left out: runs/parity/rnn/0-seed1/result.json is not JSON")
    assert (
        "warning: 1 result could not be read, and is left out: runs/parity/rnn/0-seed1. To repeat such a run, remove "
        "its folder and type the command of the sweep again." in shown.splitlines()
    )
    sweep.write_text(sweep.read_text()[:-9])
    code, shown, _ = type_command("folder=runs", verb="compare")
    assert code == 0
    (warning,) = [line for line in shown.splitlines() if "sweep.json" in line]
    assert warning.startswith("warning: runs/sweep.json is not JSON: ")
    assert warning.endswith("; in place of the runs that it names, all below its folder are compared.")
    table = pd.read_csv(tmp_path / "runs" / "comparison" / "runs.csv")
    assert table["seed"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "sweep.json is damaged: it should hold a JSON object, got []; "),
        ("null", "sweep.json is damaged: it should hold a JSON object, got null; "),
        ('{"runs": [{}]}', "sweep.json: it is damaged: runs should be a list of runs with their folders; "),
    ],
)
@pytest.mark.parametrize("verb", ["compare", "results"])
def test_a_damaged_sweep_without_runs_below_it(tmp_path, type_command, verb, content, message):
    (tmp_path / "sweep.json").write_text(content)
    code, shown, errors = type_command(f"folder={tmp_path}", verb=verb)
    assert (code, shown) == (1, "")
    assert errors.startswith(f"error: {tmp_path}/{message}the command of the sweep, typed again")


def test_the_trials_of_a_tuning_are_no_unfinished_runs(tmp_path):
    good = leave_run(tmp_path / "runs")
    trial = tmp_path / "tune" / "rates" / "rnn_parity" / "001" / "101"
    trial.mkdir(parents=True)
    (trial / "config.yaml").write_text("seed: 101\n")
    assert find_runs(tmp_path).warnings == [f"1 run has not finished: {trial}."]
    (tmp_path / "tune" / "rates" / "study.db").touch()
    found = find_runs(tmp_path)
    assert (found.runs["folder"].tolist(), found.errors, found.warnings) == ([str(good)], [], [])


def test_a_sweep_may_name_folders_that_cannot_be(tmp_path):
    good = leave_run(tmp_path)
    named = ["x" * 5000, "a\0b", good.relative_to(tmp_path).as_posix()]
    (tmp_path / "sweep.json").write_text(json.dumps({"runs": [{"folder": name} for name in named]}))
    found = find_runs(tmp_path)
    assert (found.runs["folder"].tolist(), found.errors) == ([str(good)], [])
    assert found.warnings[0].startswith(f"2 runs have not finished: {tmp_path}/xxx")


def test_no_choice_is_made_by_the_test(tmp_path):
    """The order of groups stays the same, whatever they score."""
    for scores in ([0.6, 0.9], [0.9, 0.6]):
        root = tmp_path / str(scores[0])
        for model, score in zip(("b", "a"), scores, strict=True):
            leave_run(root, model, score=score)
        assert compared(root).groups["model"].tolist() == ["a", "b"]


def test_other_scores_than_the_test(tmp_path):
    lengths = [{"length": 40, "test": 1.0, "chance": 0.5, "unseen": False}]
    lengths += [
        {"length": length, "test": score, "chance": 0.4, "unseen": True} for length, score in ((80, 0.9), (160, 0.7))
    ]
    for seed in (1, 2):
        leave_run(tmp_path, seed=seed, score=1.0, validation=0.9, unseen=0.8, lengths=lengths)
    assert compared(tmp_path, score="validation").groups["mean"].item() == 0.9
    unseen = compared(tmp_path, score="unseen")
    assert unseen.groups["mean"].item() == 0.8
    assert unseen.groups["solved"].item() == 0
    assert unseen.groups["place"].item() == pytest.approx(0.4 / 0.59)
    assert len(unseen.lengths) == 6


def test_results_of_earlier_versions_are_compared(tmp_path):
    for seed in (1, 2):
        folder = leave_run(tmp_path, seed=seed)
        result = json.loads((folder / "result.json").read_text())
        for name in ("validation", "finished", "unseen", "versions", "git", "digests"):
            del result[name]
        (folder / "result.json").write_text(json.dumps(result))
    assert compared(tmp_path).groups["mean"].item() == 0.7
    with pytest.raises(UserError, match="none of the 2 runs has a finite validation score"):
        compared(tmp_path, score="validation")


def test_the_files_of_a_comparison(tmp_path):
    hostile = "r|n_n%<b>[x](y)\\"
    for seed in range(1, 4):
        for model in (hostile, "gru"):
            for task in ("parity", "adding"):
                lengths = [{"length": n, "test": 0.6, "chance": 0.5, "unseen": n > 40} for n in (20, 40, 80)]
                folder = leave_run(tmp_path / "runs" / model.replace("|", "-")[:3], "m", task, seed, 0.6)
                result = json.loads((folder / "result.json").read_text()) | {"model": model}
                result |= {"lengths": lengths if task == "parity" else []}
                (folder / "result.json").write_text(json.dumps(result))
    comparison = compared(tmp_path / "runs", baseline="gru")
    write_comparison(comparison, tmp_path / "to" / "comparison")
    written = {file.name: file for file in (tmp_path / "to" / "comparison").iterdir()}
    pictures = {"heatmap.png", "intervals.png", "curves.png", "lengths.png"}
    assert set(written) == pictures | {"runs.csv", "comparison.csv", "comparison.md", "comparison.tex"}
    runs, groups = pd.read_csv(written["runs.csv"]), pd.read_csv(written["comparison.csv"])
    assert (len(runs), len(groups)) == (12, 4)
    assert {"model", "task", "seed", "score", "place", "solved", "folder"} <= set(runs)
    assert {"mean", "low", "high", "solved", "difference", "difference_low", "p_holm", "verdict"} <= set(groups)
    assert groups["verdict"].isna().sum() == 2  # the baseline's
    text = written["comparison.md"].read_text()
    assert r"r\|n_n%\<b\>\[x\](y)\\ |" in text
    assert "- With 3 seeds a 95 % interval covers" in text
    latex = written["comparison.tex"].read_text()
    assert r"r\textbar{}n\_n\%\textless{}b\textgreater{}{[}x{]}(y)\textbackslash{} &" in latex


@pytest.mark.parametrize(
    ("models", "tasks", "pooled"),
    [(1, 1, False), (2, 4, True), (12, 1, False), *(pytest.param(12, 10, it, marks=pytest.mark.slow) for it in (0, 1))],
)
def test_the_pictures_are_tidy(models, tasks, pooled):
    rng = np.random.default_rng(0)
    names = [f"layernorm_lstm_{number}" for number in range(models)]
    metrics = ["accuracy", "mse", "bits"]
    rows = []
    for task in range(tasks):
        metric = metrics[task % 3]
        chance, solved_at = {"accuracy": (0.5, 0.99), "mse": (0.1, 0.001), "bits": (4.0, 2.0)}[metric]
        for model in names:
            for seed in (1, 2, 3):
                score = chance + (solved_at - chance) * rng.random()
                lengths = [
                    {"length": float(length), "test": score, "chance": chance, "unseen": length > 40}
                    for length in (20, 40, 80, 320)
                ]
                rows.append({
                    "model": model, "task": f"modular_arithmetic_{task}", "seed": seed, "metric": metric, "test": score,
                    "validation": score, "unseen": None, "chance": chance, "solved": False, "solved_at": solved_at,
                    "diverged_at": None, "steps": 9, "steps_per_second": 1.0, "seconds": 1.0, "parameters": 9,
                    "finished": "2026", "git": None, "best_step": 9, "lengths": lengths, "versions": {},
                    "folder": "none",
                })  # fmt: skip
    runs = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]})
    comparison = compare(runs, ["model"] if pooled else ["model", "task"])
    for name, figure in drawn(comparison).items():
        assert_tidy(figure, legend=name != "heatmap")
        panels = {"heatmap": 2, "intervals": 1 if pooled else tasks}
        assert len(figure.axes) == panels.get(name, tasks)


@pytest.mark.slow
def test_two_hundred_runs_take_seconds(tmp_path):
    for model in ("a", "b", "c", "d"):
        for task in TASKS:
            for seed in range(1, 18):
                leave_run(tmp_path / model, model, task, seed, 0.7 + seed / 1000)
    started = time.perf_counter()
    comparison = compared(tmp_path, baseline="a")
    write_comparison(comparison, tmp_path / "comparison")
    assert len(comparison.runs) == 204
    assert time.perf_counter() - started < 20
