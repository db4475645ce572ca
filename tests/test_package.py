"""The package as others get it: its imports, its wheel, and what its README says."""

import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("module", ["seqmodels.layers", "seqmodels.tasks"])
def test_layers_and_tasks_stand_without_lightning_and_hydra(module):
    script = f"import sys, {module}; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"lightning", "pytorch_lightning", "hydra", "omegaconf"} & set(loaded)


def test_the_floors_import_only_downwards():
    """layers and tasks know neither each other nor anything above them."""
    for floor, own in [("layers", "seqmodels.layers"), ("tasks", "seqmodels.tasks")]:
        for file in (ROOT / "seqmodels" / floor).rglob("*.py"):
            imported = re.findall(r"^\s*(?:from|import) (seqmodels\S*)", file.read_text(), re.MULTILINE)
            assert all(name.startswith((own, "seqmodels.checks", "seqmodels.signatures")) for name in imported), file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", ".", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_configs_data_and_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    needed = [
        f"seqmodels/{file.relative_to(ROOT)}" for folder in ("conf", "data") for file in (ROOT / folder).rglob("*.*")
    ]
    assert set(needed) | {"seqmodels/py.typed"} <= names
    assert not [name for name in names if name.startswith(("tests", "conf", "outputs"))]


def test_the_installed_wheel_serves_a_lightning_project_of_somebody_else(wheel, tmp_path):
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    script = tmp_path / "their_project.py"
    script.write_text(
        textwrap.dedent(f"""
            import lightning.pytorch as pl
            import torch
            from torch import nn

            import seqmodels
            from seqmodels.layers import ManualRNN

            assert seqmodels.__file__.startswith({str(site)!r}), seqmodels.__file__


            class TheirModule(pl.LightningModule):
                def __init__(self):
                    super().__init__()
                    self.rnn = ManualRNN(1, 16, batch_first=True)
                    self.head = nn.Linear(16, 1)
                    self.losses = []

                def training_step(self, batch):
                    inputs, targets = batch
                    _, hidden = self.rnn(inputs)
                    loss = nn.functional.mse_loss(self.head(hidden[-1]), targets)
                    self.losses.append(loss.item())
                    return loss

                def configure_optimizers(self):
                    return torch.optim.Adam(self.parameters(), lr=1e-2)


            pl.seed_everything(0)
            inputs = torch.rand(512, 6, 1)
            data = torch.utils.data.TensorDataset(inputs, inputs.mean(1))
            module = TheirModule()
            trainer = pl.Trainer(
                max_epochs=10, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
            )
            trainer.fit(module, torch.utils.data.DataLoader(data, batch_size=64, shuffle=True))
            assert module.losses[-1] < 0.1 * module.losses[0], module.losses
        """)
    )
    environment = {"PYTHONPATH": str(site), "PATH": ""}
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, env=environment, check=True, capture_output=True)

    # Its commands find the configs and the data that the wheel carries.
    command = [sys.executable, "-m", "seqmodels.parity", "task=co2", "model.hidden_size=4"]
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "gradient of weight_hh_l0" in shown.stdout


def test_the_readme_shows_the_two_commands():
    assert "\npip install -c constraints.txt -e . && python train.py model=manual_rnn\n" in README
    assert '\npip install -c constraints.txt -e ".[test]" && pytest\n' in README


def test_the_tree_in_the_readme_is_the_tree():
    tree = re.search(r"```text\n(.*?)```", README, re.DOTALL)[1]
    folders: list[tuple[int, str]] = []
    named = set()
    for line in tree.splitlines():
        indent, name = re.match(r"( *)(\S+)", line).groups()
        folders = [folder for folder in folders if folder[0] < len(indent)]
        path = "".join(folder for _, folder in folders) + name
        assert (ROOT / path).exists(), path
        named.add(path)
        if name.endswith("/"):
            folders.append((len(indent), name))
    # layers/ and tasks/ may gain a file without the README having to know
    modules = {file.relative_to(ROOT).as_posix() for file in (ROOT / "seqmodels").glob("*.py")}
    assert {module for module in modules if "__init__" not in module} <= named


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_in_the_readme_runs(block, tmp_path, monkeypatch, train):
    folder = train("trainer=smoke", "model.hidden_size=4")
    monkeypatch.chdir(tmp_path)
    exec(block.replace("outputs/parity/manual_rnn/2026-11-22_10-00-00-000000", str(folder)), {"__name__": "readme"})


def test_the_commands_in_the_readme_compose():
    from seqmodels.config import compose

    commands = re.findall(r"^python (train\.py|-m seqmodels\.\w+)([^#\n]*)", README, re.MULTILINE)
    assert len(commands) > 8
    for program, words in commands:
        overrides = [word.strip("'\"") for word in words.split() if word != "-m"]
        config_name = "train" if program == "train.py" else program.rpartition(".")[2]
        if "--help" in overrides or "-m" in words.split() or program.endswith(("results", "atlas", "claims")):
            continue
        compose(*overrides, config_name=config_name)
