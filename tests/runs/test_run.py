"""Whole runs: what a run folder holds, that equal configs yield equal numbers, and that loading is safe."""

import errno
import json
import os
import re
import textwrap
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

import seqmodels
from seqmodels.checks import UserError
from seqmodels.config import CONF
from seqmodels.data import SequenceData
from seqmodels.learner import Learner
from seqmodels.runs.build import use_threads
from seqmodels.tasks import ParityCheck

TASKS = sorted(file.stem for file in (CONF / "task").glob("*.yaml") if "???" not in file.read_text())
SOME_TASKS = TASKS[:: max(1, len(TASKS) // 8)]
SHORT = ["trainer=smoke", "model.hidden_size=8", "data.batch_size=16"]


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def metrics_of(folder):
    return pd.read_csv(folder / "metrics.csv")


@pytest.mark.parametrize(
    ("task", "model"),
    [
        pytest.param(task, model, marks=[] if task in SOME_TASKS[first::2] else [pytest.mark.slow])
        for first, model in enumerate(["manual_rnn", "nn_rnn"])
        for task in TASKS
    ],
)
def test_a_run_on_any_task_leaves_a_whole_folder(pictures, train, task, model):
    """tests/tasks/test_contract.py trains each model on each task for a step; this is a whole run."""
    folder = train(f"task={task}", f"model={model}", *SHORT)
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    pictures = {"curves.png", "predictions.png"}
    answered = {"predictions.csv"} if "reader" in result_of(folder)["facts"] else set()
    assert names == pictures | answered | {
        "config.yaml",
        "metrics.csv",
        "result.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    for picture in pictures:
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")

    result = result_of(folder)
    needed = "model task seed metric test chance unseen lengths solved steps seconds steps_per_second parameters"
    needed += " parity versions git threads best_step"
    assert set(needed.split()) <= set(result)
    assert (result["model"], result["task"], result["steps"]) == (model, task, 20)
    assert np.isfinite([result["test"], result["chance"]]).all()
    metrics = metrics_of(folder).dropna(subset="val_loss").set_index("step")
    assert result["validation"] == metrics.loc[result["best_step"] - 1, f"val_{result['metric']}"]
    assert metrics.loc[result["best_step"] - 1, "val_loss"] == metrics["val_loss"].min()
    assert datetime.fromisoformat(result["finished"]).utcoffset() == timedelta(0)
    assert result["parity"]["passed"] if model == "manual_rnn" else result["parity"] == "no reference"
    metrics = metrics_of(folder)
    assert {"step", "train_loss", "val_loss", f"val_{result['metric']}"} <= set(metrics)
    assert metrics[f"test_{result['metric']}"].dropna().tolist() == pytest.approx([result["test"]])
    for name in ("best", "last"):
        assert torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def test_a_run_is_tested_at_several_lengths(pictures, train):
    """20 and 3 lie in the training range, 60 and 41 beyond it; each has `limit_test_batches` of its own."""
    tested = [60, 20, 41, 3]
    folder = train("task=parity_check", f"task.test_lengths={tested}", *SHORT)
    result = result_of(folder)
    assert (folder / "lengths.png").read_bytes().startswith(b"\x89PNG")
    assert result["trained_lengths"] == [1, 40]
    assert [row["length"] for row in result["lengths"]] == tested
    assert [row["unseen"] for row in result["lengths"]] == [True, False, True, False]
    scores = [row["test"] for row in result["lengths"]]
    assert len(set(scores)) > 1
    assert result["test"] == pytest.approx(np.mean(scores))
    assert result["unseen"] == pytest.approx((scores[0] + scores[2]) / 2)
    assert [row["chance"] for row in result["lengths"]] == [0.5] * 4
    metrics = metrics_of(folder)
    assert metrics["test_accuracy_at_41"].dropna().tolist() == pytest.approx([scores[2]])
    assert metrics["test_accuracy"].dropna().tolist() == pytest.approx([result["test"]])

    # Each of them is what a run with that length alone scores on the batches of this length.
    model, task = seqmodels.load_run(folder), ParityCheck([1, 40], test_lengths=tested)
    for position, score in enumerate(scores):
        batches = SequenceData(task, 20, batch_size=16).batches("test", position)
        right = [(model(batches[i][0]).argmax(1) == batches[i][1]).float().mean().item() for i in range(2)]
        assert np.mean(right) == pytest.approx(score)


def test_without_several_lengths_the_test_is_the_only_row(train):
    result = result_of(train("task=parity_check", *SHORT))
    assert result["lengths"] == [{"length": 500, "test": result["test"], "chance": 0.5, "unseen": True}]
    assert result["unseen"] == result["test"]
    result = result_of(train("task=adding", *SHORT, name="adding"))
    assert [row["unseen"] for row in result["lengths"]] == [False]
    assert result["unseen"] is None
    assert result_of(train("task=digits", *SHORT, name="digits"))["lengths"] == []


@pytest.mark.parametrize("model", ["manual_rnn", "nn_lstm", "transformer"])
@pytest.mark.parametrize("task", ["adding", "copy_memory", "sine"])
def test_models_train_on_mixed_lengths(train, task, model):
    folder = train(f"task={task}", f"model={model}", "task.length=[6,12]", "task.mixed_lengths=true", *SHORT)
    assert np.isfinite(metrics_of(folder)["train_loss"].dropna()).all()


def test_a_layer_that_cannot_do_with_mixed_lengths_is_refused_before_anything_is_written(train, tmp_path, monkeypatch):
    (tmp_path / "their_layers.py").write_text(
        textwrap.dedent("""
            from torch import nn

            class Unpacked(nn.RNN):
                def forward(self, inputs, hx=None):
                    return super().forward(inputs + 0, hx)
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = ["model=nn_rnn", "model._target_=their_layers.Unpacked", "task.mixed_lengths=true", *SHORT]
    train(*options, name="forwards")
    with pytest.raises(UserError, match=r"task\.mixed_lengths=true needs a layer that accepts packed"):
        train(*options, "model.bidirectional=true", name="both")
    assert list((tmp_path / "both").iterdir()) == []
    with pytest.raises(UserError, match="sequences of different lengths need a layer that accepts packed"):
        train("task=japanese_vowels", *(word for word in options if "task." not in word), "model.bidirectional=true")


def test_a_csv_file_of_ones_own(train, tmp_path):
    pd.DataFrame({"t": range(300), "load": np.sin(np.arange(300) / 3)}).to_csv(tmp_path / "mine.csv", index=False)
    folder = train("task=csv", f"task.path={tmp_path / 'mine.csv'}", "task.target=load", "trainer.max_steps=300")
    result = result_of(folder)
    assert result["solved"]
    assert result["test"] < 0.5 * result["baselines"]["persistence"]


def test_japanese_vowels_are_told_apart_better_than_was_published(train, pictures):
    """One seed, and a third of the steps; the claim over five seeds is a slow test."""
    folder = train("experiment=japanese_vowels", "trainer.max_steps=100")
    result = result_of(folder)
    assert result["solved"]
    assert result["test"] > 0.962 > result["solved_at"]
    assert result["facts"]["classes"] == [str(number) for number in range(1, 10)]
    assert result["details"]["test"][0]["accuracy"] == pytest.approx(result["test"])
    assert (folder / "predictions.png").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_the_claim_about_japanese_vowels(train, seed):
    result = result_of(train("experiment=japanese_vowels", f"seed={seed}"))
    assert result["test"] > max(0.98, result["baselines"]["linear"])


@pytest.mark.parametrize("settings", [["task.label=label"], ["task.label=number"]])
def test_a_label_at_each_step_of_sequences_of_ones_own(train, tmp_path, settings):
    """The answer is the input of the step before; the batches of the test differ in length."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(3, 12, 80)
    table = pd.DataFrame({"id": np.repeat(np.arange(80), numbers), "x": rng.standard_normal(numbers.sum())})
    table["number"] = table.groupby("id")["x"].shift(fill_value=0.0)
    table["label"] = np.where(table["number"] > 0, "up", "down")
    table.to_csv(tmp_path / "mine.csv", index=False)
    words = [f"task.path={tmp_path / 'mine.csv'}", "task.id=id", "task.inputs=[x]", "task.every_step=true", *settings]
    result = result_of(train("task=sequences", *words, "data.batch_size=5", "trainer.max_steps=150", "page=true"))
    assert result["solved"]


def test_what_was_read_and_each_target_are_shown_and_stored(train, tmp_path, capsys):
    values = np.sin(np.arange(300)[:, None] / [3, 5])
    pd.DataFrame(values, columns=["load", "heat"]).to_csv(tmp_path / "mine.csv", sep=";", decimal=",", index=False)
    settings = [
        "inputs=[load,heat]",
        "targets=[load,heat]",
        "horizon=2",
        "loss=quantile",
        f"path={tmp_path / 'mine.csv'}",
    ]
    result = result_of(train("task=table", *(f"task.{setting}" for setting in settings), *SHORT))
    (source, columns, windows) = result["report"].values()
    assert source == [{"format": "csv", "separator": "semicolon", "decimal": ",", "rows": 300}]
    assert [row["column"] for row in columns] == ["load", "heat"]
    assert [row["split"] for row in windows[:3]] == ["train", "val", "test"]
    (by_target, by_step, shares) = result["details"].values()
    assert [row["target"] for row in by_target] == ["load", "heat"]
    assert [row["steps ahead"] for row in by_step] == [1, 2]
    assert [row["quantile"] for row in shares] == [0.1, 0.5, 0.9]
    assert result["facts"]["quantiles"] == [0.1, 0.5, 0.9]
    shown = capsys.readouterr().out
    assert shown.index("semicolon") < shown.index("test rmse") < shown.index("of each target, in its units")


def test_the_default_run_learns_parity_check_and_generalises(train):
    """One seed at the shipped settings; the claim over five seeds is a slow test."""
    result = result_of(train())
    assert result["solved"]
    assert result["test"] > 0.99
    assert OmegaConf.load(CONF / "task" / "parity_check.yaml").test_length == 500


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize(("experiment", "solved"), [("parity_curriculum", True), ("parity_uniform", False)])
def test_the_claims_of_the_experiments(train, experiment, solved, seed):
    result = result_of(train(f"experiment={experiment}", f"seed={seed}"))
    assert result["solved"] is solved
    if not solved:
        assert abs(result["test"] - 0.5) < 0.06  # 1,024 sequences: four standard errors


@pytest.mark.parametrize(("precision", "steps", "tolerance"), [("32-true", 50, 1e-4), ("64-true", 100, 1e-9)])
@pytest.mark.parametrize("task", ["parity_check", "copy_memory", "sine"])
def test_manual_and_torch_rnn_train_alike(train, task, precision, steps, tolerance):
    options = [f"task={task}", f"trainer.precision={precision}", f"trainer.max_steps={steps}"]
    options += ["trainer.log_every_n_steps=1", "data.batch_size=32", "model.hidden_size=16", "parity=off"]
    losses = [
        metrics_of(train(f"model={model}", *options, name=model))["train_loss"].dropna().to_numpy()
        for model in ("manual_rnn", "nn_rnn")
    ]
    assert len(losses[0]) == steps
    np.testing.assert_allclose(*losses, rtol=tolerance)
    assert losses[0][0] != losses[0][-1]


def test_equal_configs_give_bit_identical_metrics_with_and_without_workers(train):
    options = ["trainer.max_steps=40", "trainer.log_every_n_steps=1", "model.num_layers=2", "model.dropout=0.2"]
    options += ["model.hidden_size=16", "data.batch_size=32", "task.test_length=60", "parity=off"]
    folders = [
        train(*options, f"data.num_workers={workers}", name=f"{workers}{again}") for workers in (0, 2) for again in "ab"
    ]
    first, *others = [(folder / "metrics.csv").read_bytes() for folder in folders]
    assert all(other == first for other in others)
    assert (train(*options, "seed=2", name="other") / "metrics.csv").read_bytes() != first


def test_the_best_checkpoint_is_chosen_on_validation_and_tested_once(train):
    options = ["optimizer.lr=0.3", "trainer.max_steps=60", "trainer.val_check_interval=5", "task=adding"]
    folder = train(*options, "trainer.gradient_clip_val=null")
    losses = metrics_of(folder).dropna(subset="val_loss")
    best, last = (torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last"))
    assert last["global_step"] == 60
    assert best["global_step"] == losses["step"][losses["val_loss"].idxmin()] + 1
    assert best["global_step"] < 60
    assert metrics_of(folder)["test_mse"].notna().sum() == 1


def test_a_layer_of_ones_own_is_run_refused_when_wrong_and_loaded_when_trusted(train, tmp_path, monkeypatch):
    (tmp_path / "my_layers.py").write_text(
        textwrap.dedent("""
            from types import SimpleNamespace

            from seqmodels.layers import ManualRNN

            class Right(ManualRNN):
                pass

            class Wrong(ManualRNN):
                def step(self, projected, state, weights):
                    return super().step(projected, state, SimpleNamespace(**vars(weights) | {"bias_hh": None}))
        """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = train("model._target_=my_layers.Right", *SHORT)
    with pytest.raises(UserError, match="trusted="):
        seqmodels.load_run(folder)
    assert seqmodels.load_run(folder, trusted=("my_layers",))

    with pytest.raises(UserError, match=r"Wrong differs from torch.nn.RNN .* gradient of bias_hh_l0"):
        train("model._target_=my_layers.Wrong", *SHORT, name="refused")
    assert list((tmp_path / "refused").iterdir()) == []
    assert result_of(train("model._target_=my_layers.Wrong", "parity=off", *SHORT, name="off"))["parity"] == "off"


def diverged(train, *words):
    """The message, the folder and the result of a run that diverges."""
    with pytest.raises(UserError, match="training diverged") as error:
        train(*words, *SHORT, "trainer.val_check_interval=5", name="diverged")
    folder = Path(re.search(r"\((/.*)\)$", str(error.value))[1])
    return str(error.value), folder, result_of(folder)


def test_training_that_diverges_from_the_start_has_no_test(train):
    words = ["task=adding", "model.nonlinearity=relu", "optimizer=sgd", "optimizer.lr=1e30"]
    message, folder, result = diverged(train, *words, "trainer.gradient_clip_val=null")
    assert "at step 2, the loss is not finite: try a smaller optimizer.lr" in message
    assert (result["diverged_at"], result["steps"], result["test"], result["solved"]) == (2, 1, None, False)
    assert result["validation"] is None
    assert {file.name for file in folder.rglob("*") if file.is_file()} == {"config.yaml", "result.json", "last.ckpt"}
    assert all(value.isfinite().all() for value in seqmodels.load_run(folder, "last").state_dict().values())


@pytest.mark.parametrize("clipping", ["1.0", "null", "1.0 trainer.gradient_clip_algorithm=value"])
def test_the_first_gradient_that_is_not_finite_ends_training(train, clipping, monkeypatch):
    def spoil(learner):
        if learner.trainer.global_step == 12:
            learner.model.layer.weight_hh_l0.grad[0, 0] = torch.inf

    monkeypatch.setattr(Learner, "on_after_backward", spoil)
    words = f"trainer.gradient_clip_val={clipping}".replace(" trainer.", " +trainer.").split()
    message, folder, result = diverged(train, *words)
    assert "at step 13, the gradient of layer.weight_hh_l0 is not finite" in message
    assert (result["diverged_at"], result["steps"], result["best_step"]) == (13, 12, result["best_step"])
    assert np.isfinite([result["test"], result["validation"]]).all()  # of the best checkpoint, of step 5 or 10
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 12
    assert all(value.isfinite().all() for value in last["state_dict"].values())


def test_a_validation_that_is_not_finite_ends_training(train, monkeypatch):
    original = ParityCheck.loss

    def loss(self, outputs, targets):
        computed = original(self, outputs, targets)
        return computed if torch.is_grad_enabled() else computed * torch.nan

    monkeypatch.setattr(ParityCheck, "loss", loss)
    message, _, result = diverged(train)
    assert "at step 5, the validation loss is not finite" in message
    assert (result["steps"], result["test"]) == (5, None)


def test_gradients_are_clipped_as_lightning_clips_them(train, monkeypatch):
    words = ["trainer.gradient_clip_val=0.01", "trainer.log_every_n_steps=1", *SHORT]
    ours = train(*words, name="ours")
    monkeypatch.delattr(Learner, "configure_gradient_clipping")
    assert (train(*words, name="lightning") / "metrics.csv").read_bytes() == (ours / "metrics.csv").read_bytes()
    other = train(*words, "trainer.gradient_clip_val=null", name="other")
    assert (other / "metrics.csv").read_bytes() != (ours / "metrics.csv").read_bytes()


def test_the_best_checkpoint_is_the_best_where_each_step_is_validated(train):
    words = ["optimizer.lr=0.3", "trainer.max_steps=20", "trainer.gradient_clip_val=null", "task=adding", *SHORT[1:]]
    folder = train("trainer.val_check_interval=1", *words)
    losses = metrics_of(folder).dropna(subset="val_loss").reset_index()
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert len(losses) == 20
    assert best["global_step"] == losses["val_loss"].idxmin() + 1 < 20


def test_a_class_in_the_place_of_the_models_own_names_the_run(type_command, tmp_path):
    words = ["model._target_=torch.nn.RNN", "~model.backend", *SHORT, "trainer.enable_progress_bar=false"]
    assert type_command(*words)[0] == 0
    (folder,) = tmp_path.glob("outputs/parity_check/RNN/*")
    assert result_of(folder)["model"] == "RNN"


def test_one_thread_unless_told_otherwise(train, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    folder = train(*SHORT)
    assert result_of(folder)["threads"] == torch.get_num_threads() == 1
    try:
        use_threads(2)
        assert torch.get_num_threads() == 2
        use_threads("auto")  # leaves it as it is
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_results_are_plain_json(train):
    text = (train(*SHORT) / "result.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle"])
def test_schedulers_move_the_learning_rate(train, scheduler):
    folder = train(f"scheduler={scheduler}", "optimizer=adamw", *SHORT)
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] < 1e-4


def test_tensorboard_is_the_default_logger(train):
    folder = train(*SHORT, "logger=tensorboard")
    assert list(folder.glob("tensorboard/events.out.tfevents.*"))


def test_a_run_at_chance_says_so(type_command, tmp_path):
    words = ["trainer=smoke", "logger=none", "parity=off", "model.hidden_size=4"]
    code, shown, _ = type_command(*words, "task=delay", "hydra.run.dir=run")
    assert code == 0
    assert "better than chance. 20 steps are few: try trainer.max_steps=1500." in shown.replace("\n", " ")
    assert json.loads((tmp_path / "run" / "result.json").read_text())["verdict"] == "chance"


def test_a_result_that_cannot_be_shown_is_not_lost(type_command, tmp_path, monkeypatch):
    def full(result):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("seqmodels.runs.run.result_table", full)
    code, _, complaint = type_command("trainer=smoke", "logger=none", "parity=off", "hydra.run.dir=run")
    said = f"error: cannot write to standard output: No space left on device; the results are in {tmp_path / 'run'}\n"
    assert (code, complaint) == (1, said)
    assert (tmp_path / "run" / "result.json").exists()
