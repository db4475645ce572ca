"""A run folder is a model again, and nothing but a model, whoever made it."""

import json
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from random import Random

import pytest
import torch
from hostile import CASES, checkpoint_with
from omegaconf import OmegaConf

import seqmodels
from seqmodels.checks import UserError
from seqmodels.config import CONF, compose, layer_of
from seqmodels.files import is_sealed
from seqmodels.layers import ManualRNN
from seqmodels.model import SequenceModel
from seqmodels.restore import RunFolderError, read_checkpoint, read_weights, save_weights
from seqmodels.runs.build import build
from seqmodels.runs.run import run

SHORT = ["trainer=smoke", "model.hidden_size=8", "data.batch_size=16"]


def test_load_run_gives_the_trained_model_back(train):
    folder = train("task=digits", *SHORT, "trainer.max_steps=100")
    model = seqmodels.load_run(folder)
    assert not model.training
    assert isinstance(model.layer, ManualRNN)
    from seqmodels.tasks import Digits

    images, labels = Digits().data["test"]
    right = (model(images).argmax(1) == labels).float()
    limited = right[:32].mean().item()  # trainer=smoke tests on two batches of 16
    assert limited == pytest.approx(json.loads((folder / "result.json").read_text())["test"])


def test_load_run_needs_no_data(train, tmp_path):
    file = tmp_path / "text.txt"
    file.write_text("to be or not to be, that is the question. " * 50)
    folder = train("task=text", f"task.path={file}", "embedding_size=4", *SHORT)
    file.unlink()
    assert seqmodels.load_run(folder, checkpoint="last").encoder.embedding_dim == 4


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.hub.load",
        "torch.utils.collect_env.run",
        "seqmodels.layers.stack.torch.hub.load",
        "seqmodels.layers.rnn.difflib.unified_diff",
        "torch.nn.modules.module.torch.hub.load",
        "seqmodels.runs.run.run",
        "torch.nn.RNN.forward",
    ],
)
def test_load_run_builds_nothing_but_trusted_layers(train, target):
    folder = train(*SHORT)
    config = OmegaConf.load(folder / "config.yaml")
    config.model._target_ = target
    OmegaConf.save(config, folder / "config.yaml")
    (folder / "result.json").unlink()  # with the digests
    with pytest.raises(UserError, match=r"model\._target_="):
        seqmodels.load_run(folder)


def test_load_run_says_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.yaml"):
        seqmodels.load_run(tmp_path)


def test_a_run_of_an_earlier_version_keeps_its_backend_under_the_new_word(train):
    folder = train(*SHORT)
    config = OmegaConf.load(folder / "config.yaml")
    config.model.backend = "fused"
    OmegaConf.save(config, folder / "config.yaml")
    (folder / "result.json").unlink()  # with the digests
    assert seqmodels.load_run(folder).layer.backend == "bptt"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small finished run, in a folder `good`, beside the same run as it was shared."""
    parent = tmp_path_factory.mktemp("runs")
    folder = parent / "good"
    folder.mkdir()
    run(build(compose("trainer.enable_progress_bar=false", "logger=none", *SHORT), folder), folder)
    save_weights(folder, parent / "shared")
    return folder


@pytest.fixture
def bad(good, tmp_path, monkeypatch):
    """A copy of the good run folder, beside the shared one, to be damaged."""
    monkeypatch.setenv("HOSTILE_SECRET", "5e1f")
    (tmp_path / "shared").symlink_to(good.parent / "shared")
    return Path(shutil.copytree(good, tmp_path / "bad"))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_file_is_an_error_that_names_it(name, bad):
    damage, complaint = CASES[name]
    damage(bad)
    started = time.perf_counter()
    with pytest.raises(RunFolderError, match=complaint) as error:
        seqmodels.load_run(bad)
    assert time.perf_counter() - started < 10
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 1000
    assert "5e1f" not in message
    assert not Path("/tmp/hacked").exists()


@pytest.mark.parametrize("name", CASES)
def test_only_weights_are_read_to_start_from(name, bad):
    """The config is not read, so its faults do no harm; a hostile file of weights is an error of the same kind."""
    damage, complaint = CASES[name]
    damage(bad)
    message = ""
    try:
        assert sum(weight.nbytes for weight in read_weights(bad, 2**16).values()) < 2**26
    except RunFolderError as error:
        message = str(error)
    others = "should hold a state_dict|should have at most|its tensors do not match"
    assert not message or re.search(f"{complaint}|{others}", message)
    assert message.isprintable()
    assert not Path("/tmp/hacked").exists()


@pytest.mark.parametrize(
    "file", ["config.yaml", "result.json", "checkpoints/best.ckpt", "data.pkl", "model.safetensors"]
)
def test_bytes_changed_at_random_cause_no_other_error(file, bad, tmp_path):
    random = Random(file)
    folder = bad
    if file == "model.safetensors":
        folder = Path(shutil.copytree((tmp_path / "shared").resolve(), tmp_path / "copy"))
    (folder / "result.json").unlink(missing_ok=True) if file != "result.json" else None
    checkpoint = folder / "checkpoints" / "best.ckpt"
    if file == "data.pkl":  # and the archive around it is made again, with its checksums
        with zipfile.ZipFile(checkpoint) as archive:
            entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
        (name,) = [name for name in entries if name.endswith(file)]
        content = entries[name]
    else:
        content = (folder / file).read_bytes()
    outcomes = set()
    for _ in range(150):
        changed = bytearray(content)
        for _ in range(random.choice([1, 1, 3, 30])):
            start = random.randrange(len(changed))
            match random.choice(["flip", "flip", "cut", "remove", "repeat"]):
                case "flip":
                    changed[start] = random.randrange(256)
                case "cut":
                    del changed[start + 1 :]
                case "remove":
                    del changed[start : start + random.randrange(1, len(changed) - start + 1)]
                case "repeat":
                    changed[start:start] = changed[start : start + random.randrange(100)]
            changed = changed or bytearray(b"\0")
        if file == "data.pkl":
            with zipfile.ZipFile(checkpoint, "w") as archive:
                for entry, numbers in (entries | {name: bytes(changed)}).items():
                    archive.writestr(entry, numbers)
        else:
            (folder / file).write_bytes(changed)
        try:
            seqmodels.load_run(folder)
            outcomes.add("loaded")
        except RunFolderError:
            outcomes.add("refused")
    assert "refused" in outcomes


@pytest.mark.slow
def test_hostile_files_cost_little_time_and_memory(good, capsys):
    """The table of hostile files: what happened, in how many seconds, with how much memory."""
    command = [sys.executable, str(Path(__file__).with_name("hostile.py")), str(good)]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    with capsys.disabled():
        print("\n| file | what happened | seconds | MB |\n|---|---|---|---|")
        for name, kind, message, seconds, memory in rows:
            message = message.replace(str(good.parent), "").replace("|", "/")[:150]
            print(f"| {name} | {kind}: {message} | {seconds:.2f} | {memory:.0f} |")
    assert [row[0] for row in rows] == list(CASES)
    assert {row[1] for row in rows} == {"RunFolderError", "MissingFileError"}
    assert max(row[3] for row in rows) < 10
    assert max(row[4] for row in rows) < 300


def test_what_is_not_a_file_of_the_run_is_an_error_of_the_caller(good):
    with pytest.raises(ValueError, match="checkpoint should be 'best', 'last' or 'previous', got 'bset'"):
        seqmodels.load_run(good, "bset")
    with pytest.raises(TypeError, match="trusted should be a tuple of names"):
        seqmodels.load_run(good, trusted="my_layers")
    for wrong in (5, None, ["my_layers"], (5,)):
        with pytest.raises(TypeError, match="trusted should be a tuple of names of modules, got"):
            seqmodels.load_run(good, trusted=wrong)


def test_weights_that_are_not_finite_load(bad):
    content = checkpoint_with(bad, state_dict={
        name: torch.full_like(value, torch.nan)
        for name, value in torch.load(bad / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"].items()
    })  # fmt: skip
    (bad / "checkpoints" / "best.ckpt").write_bytes(content)
    assert all(parameter.isnan().all() for parameter in seqmodels.load_run(bad).parameters())


def test_folders_of_unfinished_runs_and_of_earlier_versions_load(bad):
    content = checkpoint_with(bad)  # it removes result.json, and the checkpoint has no digest
    seqmodels.load_run(bad)
    (bad / "checkpoints" / "best.ckpt").write_bytes(content)
    assert not is_sealed(content)
    seqmodels.load_run(bad)


@pytest.mark.parametrize("model", sorted(file.stem for file in (CONF / "model").glob("*.yaml")))
def test_every_model_comes_back_with_its_weights_from_a_checkpoint_and_as_safetensors(model, tmp_path):
    """A run folder made by hand, as no training is needed for that."""
    config = compose(f"model={model}", "model.hidden_size=8")
    trained = SequenceModel(layer_of(config.model), 3, 2, tokens=True, embedding_size=4)
    checkpoint = {
        "state_dict": {f"model.{name}": value for name, value in trained.state_dict().items()},
        "model_arguments": trained.arguments,
    }
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "config.yaml").write_text(OmegaConf.to_yaml(config))
    torch.save(checkpoint, tmp_path / "run" / "checkpoints" / "last.ckpt")
    file = save_weights(tmp_path / "run", tmp_path / "shared", checkpoint="last")
    assert file == tmp_path / "shared" / "model.safetensors"
    tokens = torch.randint(3, (2, 5))
    expected = trained.eval()(tokens)
    for folder, name in (("run", "last"), ("shared", "best")):
        assert torch.equal(seqmodels.load_run(tmp_path / folder, name)(tokens), expected)
    with pytest.raises(UserError, match=r"has a model\.safetensors already"):
        save_weights(tmp_path / "run", tmp_path / "shared", checkpoint="last")


def test_shared_weights_open_with_the_safetensors_library_alone(good):
    from safetensors.torch import load_file

    weights = load_file(good.parent / "shared" / "model.safetensors")
    model = seqmodels.load_run(good)
    assert {name: value.tolist() for name, value in weights.items()} == {
        name: value.tolist() for name, value in model.state_dict().items()
    }


def test_read_checkpoint_gives_the_whole_content_back(good):
    file = good / "checkpoints" / "best.ckpt"
    expected = torch.load(file, weights_only=True)
    found = read_checkpoint(file)
    assert found.keys() == expected.keys()
    assert str(found) == str(expected)
    with pytest.raises(RunFolderError, match="should have at most 1000 bytes"):
        read_checkpoint(file, limit=1000)
    with pytest.raises(FileNotFoundError):
        read_checkpoint(good / "checkpoints" / "none.ckpt")
