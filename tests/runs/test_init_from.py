"""Runs that start with the weights of another run, and parameters that do not move."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from interruptions import at, contents, fail
from omegaconf import OmegaConf

import seqmodels
from seqmodels.checks import UserError
from seqmodels.config import compose
from seqmodels.config.identity import identity
from seqmodels.model import SequenceModel
from seqmodels.restore import save_weights
from seqmodels.runs.build import build
from seqmodels.runs.resume import fixed_settings

SHORT = [
    "model.hidden_size=6", "task.length=8", "task.test_length=12", "data.batch_size=8", "data.eval_batches=1",
    "trainer.max_steps=12", "trainer.val_check_interval=4", "parity=off", "logger=none",
]  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run to start from."""
    from seqmodels.runs.run import run

    folder = tmp_path_factory.mktemp("source")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seqmodels.runs.run.draw", lambda *parts: None)
        run(build(compose(*SHORT, "trainer.enable_progress_bar=false", "seed=5"), folder), folder)
    return folder


def weights(folder, checkpoint="last"):
    return seqmodels.load_run(folder, checkpoint).state_dict()


def built(*words):
    return build(compose(*SHORT, *words), Path("nowhere"))


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def test_a_run_starts_with_the_weights_of_another(source):
    model = built(f"init_from={source}").model.state_dict()
    for name, weight in weights(source, "best").items():
        assert model[name].equal(weight)


def test_the_folder_of_shared_weights_will_do(source, tmp_path):
    save_weights(source, tmp_path / "shared")
    model = built(f"init_from={tmp_path / 'shared'}").model.state_dict()
    assert model["head.bias"].equal(weights(source, "best")["head.bias"])


def test_what_fits_is_taken_and_the_rest_is_named(source, type_command, tmp_path):
    words = [*SHORT, "task=dyck", "~task.test_length", f"init_from={source}", "hydra.run.dir=run"]
    code, shown, errors = type_command(*words)
    assert (code, errors) == (0, "")
    record = result_of(tmp_path / "run")["init_from"]
    assert {"name": "layer.weight_hh_l0", "shape": [6, 6]} in record["fitted"]
    (inputs,) = [weight for weight in record["left"] if weight["name"] == "layer.weight_ih_l0"]
    assert inputs["there"] == [6, 2]
    assert inputs["here"][0] == 6
    assert "5 weights of" in shown
    assert f"layer.weight_ih_l0: {inputs['here']} here, [6, 2] there" in shown


def test_weights_missing_on_one_side_are_named(source):
    record = built(f"init_from={source}", "model.num_layers=2").checkpoints.initial
    assert {"name": "layer.weight_hh_l1", "here": [6, 6], "there": None} in record["left"]


def test_nothing_that_fits_is_an_error_and_leaves_no_folder(source, type_command, tmp_path):
    code, _, errors = type_command(*SHORT, "model.hidden_size=7", "model.bias=false", "task=sine", "~task.test_length",
                                   f"init_from={source}", "hydra.run.dir=run")  # fmt: skip
    assert code == 1
    assert "none of its weights fits this model" in errors
    assert "layer.weight_hh_l0: [7, 7] here, [6, 6] there" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init_from=nowhere"], "init_from should be a run folder, and nowhere does not exist"),
        (["init_from=3"], "init_from should be a run folder, or null, got 3"),
        (["init_from=''"], "init_from should be a run folder"),
        (["freeze=[layer.weight_hh]"], "did you mean 'layer.weight_hh_l0'"),
        (["freeze=[decoder.*]"], "no such parameter; there are layer.weight_ih_l0"),
        (["freeze=['*']"], "freeze leaves no parameter to be trained"),
        (["freeze=3"], "freeze should be a list of names"),
        (["freeze=[3]"], "freeze should be a list of names"),
    ],
)
def test_mistakes_are_one_message(words, said, type_command, tmp_path):
    code, _, errors = type_command(*SHORT, *words, "hydra.run.dir=run")
    assert code == 1
    assert said in errors
    assert errors.count("error: ") == 1
    assert not (tmp_path / "run").exists()


def test_a_damaged_folder_is_refused(source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "damaged")
    content = bytearray((folder / "checkpoints/best.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "checkpoints/best.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"best.ckpt"):
        built(f"init_from={folder}")


def test_weights_that_are_not_finite_are_refused(source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "nan")
    (folder / "result.json").unlink()
    checkpoint = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.head.bias"][0] = torch.nan
    torch.save(checkpoint, folder / "checkpoints/best.ckpt")
    with pytest.raises(UserError, match=r"its weight head.bias is not finite"):
        built(f"init_from={folder}")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("*weight_hh*", ["model=manual_gru"]),
        ("head.*", ["model=manual_lstm", "model.backend=autograd"]),
        ("*bias_ih*", ["model=nn_lstm"]),
        ("*weight_ih*", ["model=min_gru", "block=prenorm"]),
        ("layer.*", ["model=manual_gru"]),
        pytest.param("*weight_hh*", ["model=manual_gru", "model.backend=compiled"], marks=pytest.mark.slow),
    ],
)
def test_frozen_parameters_do_not_move(words, pattern, train):
    start = built(*words).model.state_dict()
    folder = train(*SHORT, *words, f"freeze=['{pattern}']", "optimizer=adamw", "optimizer.weight_decay=0.5")
    result, end = result_of(folder), weights(folder)
    assert result["frozen"]
    assert result["trained_parameters"] < result["parameters"] == sum(weight.numel() for weight in end.values())
    for name, weight in start.items():
        assert end[name].equal(weight) == (name in result["frozen"]), name


def test_what_is_frozen_is_said(type_command):
    code, shown, _ = type_command(*SHORT, "freeze=layer.*")
    assert code == 0
    assert (
        "frozen: layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0; 14 parameters to train"
        in shown
    )
    assert "74 parameters, 14 of them trained" in " ".join(shown.replace("│", " ").split())


@pytest.mark.parametrize("call", [16, 2], ids=["after a checkpoint", "before any"])
def test_a_run_continues_to_the_same_bits_without_its_source(call, source, type_command, tmp_path):
    """Once there is a checkpoint, the source may be gone."""
    copy = shutil.copytree(source, tmp_path / "copy")
    words = [*SHORT, "init_from=copy", "freeze=['*weight_ih*']", "model.num_layers=2", "checkpoint.steps=5"]
    assert type_command(*words, "hydra.run.dir=uninterrupted")[0] == 0
    with at(SequenceModel, "forward", call, fail):
        assert type_command(*words, "hydra.run.dir=run")[0] == 1
    if call > 2:
        shutil.rmtree(copy)
    else:
        shutil.rmtree(tmp_path / "run/checkpoints")
    code, shown, errors = type_command("resume=run")
    assert (code, errors) == (0, "")
    assert ("weights of copy fitted" in shown) == (call == 2)
    assert contents(tmp_path / "run") == contents(tmp_path / "uninterrupted")


def test_a_run_is_another_one_from_other_weights_or_with_frozen_ones(source, tmp_path):
    plain = compose(*SHORT)
    assert not {"init_from", "freeze"} & set(plain)  # as in earlier versions
    (tmp_path / "a/checkpoints").mkdir(parents=True)
    shutil.copy(source / "checkpoints/best.ckpt", tmp_path / "a/checkpoints")
    other = compose(*SHORT, f"init_from={tmp_path / 'a'}")
    configs = [plain, other, compose(*SHORT, "freeze=[head.*]"), compose(*SHORT, f"init_from={source}")]
    assert len({identity(config) for config in configs}) == len({fixed_settings(config) for config in configs}) == 4
    before = identity(other)
    shutil.copy(source / "checkpoints/last.ckpt", tmp_path / "a/checkpoints/best.ckpt")
    assert identity(other) != before


def test_a_continued_run_keeps_both_settings(source, type_command, tmp_path):
    assert type_command(*SHORT, f"init_from={source}", "hydra.run.dir=run")[0] == 0
    assert OmegaConf.load(tmp_path / "run/config.yaml").init_from == str(source)
    for word in ("init_from=null", "freeze=[head.*]"):
        code, _, errors = type_command("resume=run", word, "trainer.max_steps=20")
        assert code == 1
        assert "these would change its numbers" in errors


@pytest.mark.slow
def test_two_processes_train_what_one_does(source, tmp_path):
    words = [*SHORT, f"init_from={source}", "freeze=['*weight_hh*']", "trainer.enable_progress_bar=false"]
    for name, more in {"one": [], "two": ["trainer=ddp", "trainer.devices=2"]}.items():
        command = [sys.executable, "-m", "seqmodels", "train", *words, *more, f"hydra.run.dir={name}"]
        subprocess.run(command, cwd=tmp_path, check=True)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert two["layer.weight_hh_l0"].equal(weights(source, "best")["layer.weight_hh_l0"])
    for name in one:
        torch.testing.assert_close(one[name], two[name])
    assert result_of(tmp_path / "two")["init_from"] == result_of(tmp_path / "one")["init_from"]
