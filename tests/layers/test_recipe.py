"""The recipe of CONTRIBUTING: a new cell is one file and one YAML, and needs no other change."""

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import properties
import pytest
import torch
import torchrecurrent

from seqmodels.config import CONF
from seqmodels.model import SequenceModel

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "CONTRIBUTING.md").read_text()
RECIPES = re.findall(
    r"`(seqmodels/layers/\S+)`:\n\n```python\n(.*?)```\n\n`(conf/model/\S+)`:\n\n```yaml\n(.*?)```", RECIPE, re.DOTALL
)
_, CELL, _, YAML = RECIPES[0]


def code_lines(source):
    """Lines of code: without docstrings, comments and blank lines."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0].value.value = ""
    return [line for line in ast.unparse(tree).splitlines() if line.strip() not in ("", "''", '""', '""""""')]


@pytest.mark.parametrize("recipe", RECIPES, ids=["ugrnn", "hgrn2"])
def test_a_new_cell_passes_everything_with_no_other_file_touched(tmp_path, recipe):
    cell_file, cell, yaml_file, yaml = recipe
    assert len(code_lines(cell)) + len(yaml.strip().splitlines()) < 40
    for name in ("seqmodels", "conf", "tests", "pyproject.toml", "train.py", "data"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    (tmp_path / cell_file).write_text(cell)
    (tmp_path / yaml_file).write_text(yaml)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "tests/layers/test_contract.py",
        "tests/commands/test_trace.py",
        "-k",
        Path(yaml_file).stem,
    ]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout
    assert int(re.search(r"(\d+) passed", shown.stdout)[1]) > 25


LAYERS = ROOT / "seqmodels" / "layers"
CELLS = [file for folder in (".", "matrix", "diagonal", "memory") for file in sorted((LAYERS / folder).glob("*.py"))]


LONGER = {"mamba": 75, "rwkv7": 65, "s4d": 60, "mlstm": 55, "tape_rnn": 50}
"""They have several products with weights, and an initialisation of their own."""


@pytest.mark.parametrize("file", CELLS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_cells_are_short(file):
    derived = re.search(r"^class .*(RecurrentLayer|MatrixLayer|MemoryLayer|DeltaNet)\b", file.read_text(), re.MULTILINE)
    if derived and file.stem not in ("stack", "layer"):
        assert len(code_lines(file.read_text())) < LONGER.get(file.stem, 40)


@pytest.mark.parametrize("layer", [torchrecurrent.MGU, torchrecurrent.PeepholeLSTM, torchrecurrent.FastGRNN])
def test_layers_of_a_published_package_work_by_their_target_alone(layer, train):
    """They have one direction only, and other parameter names."""
    folder = train(
        f"model._target_=torchrecurrent.{layer.__name__}",
        "~model.bias",
        "~model.bidirectional",
        "~model.nonlinearity",
        "~model.backend",
        "trainer=smoke",
        "task=sine",
    )
    assert (folder / "result.json").exists()
    model = SequenceModel(partial(layer, hidden_size=5, num_layers=2, batch_first=True), input_size=3, output_size=2)
    inputs = torch.randn(4, 6, 3)
    output, _ = model.layer(inputs)
    torch.testing.assert_close(model(inputs), model.head(output[:, -1]))
    model.layer.double()
    model.layer.input_size = 3
    properties.check_causality(model.layer)


def test_a_layer_of_ones_own_is_found_in_a_config_folder_of_ones_own(type_command, tmp_path, monkeypatch):
    """`--config-dir` adds a folder to those that Hydra searches."""
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "ugrnn.py").write_text(CELL)
    (tmp_path / "conf" / "model" / "ugrnn.yaml").write_text(YAML.replace("seqmodels.layers.", ""))
    monkeypatch.syspath_prepend(tmp_path)
    words = ["model=ugrnn", "model.num_layers=2", "trainer=smoke", "logger=none"]
    code, _, complaint = type_command("--config-dir", "conf", *words)
    assert code == 0, complaint
    assert list(tmp_path.glob("outputs/*/ugrnn/*/result.json"))
    assert not (CONF / "model" / "ugrnn.yaml").exists()
