"""The verb export: what it writes, where, and what it says."""

import re
from importlib.util import find_spec

import pytest
import torch

from seqmodels import load_run

SHORT = ["trainer=smoke", "trainer.max_steps=2", "model.hidden_size=8", "data.batch_size=16", "parity=off"]
needs_onnx = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the extra `export`")


def files(folder):
    return sorted(file.name for file in folder.rglob("*") if file.is_file())


@needs_onnx
def test_export_writes_a_file_into_the_run_folder_and_says_what_is_in_it(train, type_command):
    run = train(*SHORT)
    before = files(run)
    code, printed, errors = type_command("run", verb="export")
    assert (code, errors) == (0, "")
    assert files(run) == sorted([*before, "model.onnx"])
    assert re.search(r"^wrote +run/model.onnx \(\d+ kB\)$", printed, re.MULTILINE)
    assert re.search(r"^inputs +inputs \(batch, length\) int64$", printed, re.MULTILINE)
    assert re.search(r"^outputs +answers \(batch, 2\) float32$", printed, re.MULTILINE)
    assert re.search(
        r"^checked  up to length 100; .* \d\.\de-\d\d \(batch 1\), .* \(batch 7\), .* \(batch 64\)$",
        printed,
        re.MULTILINE,
    )


def test_export_writes_where_it_is_told(train, type_command, tmp_path):
    run = train(*SHORT)
    before = files(run)
    code, _, errors = type_command("run", "format=torch", "streaming=true", f"to={tmp_path}", verb="export")
    assert (code, errors) == (0, "")
    assert files(run) == before
    assert torch.export.load(tmp_path / "step.pt2").module()(torch.tensor([1]), torch.zeros(1, 1, 8))[0].shape == (1, 2)


def test_weights_are_shared_as_safetensors(train, type_command, tmp_path):
    run = train(*SHORT)
    code, printed, errors = type_command("run", "format=safetensors", "to=theirs", verb="export")
    assert (code, errors) == (0, "")
    assert "wrote    theirs/model.safetensors, and config.yaml beside it" in printed
    assert files(tmp_path / "theirs") == ["config.yaml", "model.safetensors"]
    inputs = torch.randint(2, (3, 5))
    assert load_run(tmp_path / "theirs")(inputs).equal(load_run(run)(inputs))
    assert "leave out length=3" in type_command("run", "format=safetensors", "length=3", verb="export")[2]


def test_an_export_that_fails_its_check_leaves_nothing(train, type_command, monkeypatch):
    monkeypatch.setattr("seqmodels.export.read_torch", lambda content: lambda inputs: (torch.ones(len(inputs), 2),))
    run = train(*SHORT)
    before = files(run)
    code, printed, errors = type_command("run", "format=torch", "length=3", verb="export")
    assert code == 1
    assert "wrote" not in printed
    assert re.match(r"error: the export differs from the model by \d\.\de[+-]\d\d of the largest answer, at", errors)
    assert files(run) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "export needs one run folder, as in seqmodels export outputs/TASK/MODEL/TIME, got none"),
        (["a", "b"], "export needs one run folder, as in seqmodels export outputs/TASK/MODEL/TIME, got a and b"),
        (["nowhere"], "expected a run folder, but there is no folder nowhere"),
        (
            ["nowhere", "to=notes.txt"],
            "to=notes.txt should be an existing folder, or a file ending in .pt2 in an existing folder",
        ),
        (["nowhere", "length=x"], "length should be a positive whole number, got 'x'"),
        (["nowhere", "padded=1"], "padded should be True or False, got 1"),
    ],
)
def test_mistakes_are_reported_in_one_line(type_command, words, message):
    code, printed, errors = type_command(*words, "format=torch", verb="export")
    assert (code, printed) == (1, "")
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


def test_a_long_loop_is_announced(train, type_command, monkeypatch):
    import seqmodels.export

    def stop(*arguments, **choices):
        raise seqmodels.export.UserError("stopped here")

    train(*SHORT)
    monkeypatch.setattr(seqmodels.export, "export_model", stop)
    assert "step by step" not in type_command("run", "length=40", verb="export")[2]
    announced = "length=500 steps is unrolled, which can take minutes; without length= the file has a loop"
    assert announced in type_command("run", "length=500", verb="export")[2]
