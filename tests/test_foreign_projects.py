"""Programs of other people, each in a folder of its own, with the package as they receive it.

They are in tests/foreign/. `pytest -n 0 -m slow tests/test_foreign_projects.py` runs them in two fresh environments.
"""

import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from seqmodels.config import CONF

ROOT = Path(__file__).parents[1]
FOREIGN = Path(__file__).parent / "foreign"


@dataclass(frozen=True)
class Installation:
    """An installed package, and the environment variables of a shell in which it is used."""

    python: Path
    environment: dict[str, str]

    def run(self, folder, *words, code=0):
        """Run a command in a folder; returns what it prints."""
        command = [
            str(self.python) if words[0] == "python" else str(shutil.which(words[0], path=self.path)),
            *words[1:],
        ]
        shown = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True)
        assert shown.returncode == code, shown.stdout + shown.stderr
        return shown.stdout + shown.stderr

    @property
    def path(self):
        return self.environment["PATH"]


def unpacked(wheel, folder):
    """The wheel unpacked into a folder, with the packages of this environment: in short, what installing it does."""
    zipfile.ZipFile(wheel).extractall(folder / "site")
    script = folder / "bin" / "seqmodels"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom seqmodels.__main__ import main\n\nmain()\n")
    script.chmod(0o755)
    return Installation(Path(sys.executable), {"PYTHONPATH": str(folder / "site"), "PATH": str(script.parent)})


def fresh(folder, *words):
    """A fresh environment, with `pip install -c constraints.txt` of the words."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    constraints = ["-c", str(ROOT / "constraints.txt")]
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "install",
        "-q",
        *constraints,
        *words,
        "jsonargparse[signatures]",
    ]
    subprocess.run(pip, check=True)
    return Installation(folder / "bin" / "python", {"PATH": str(folder / "bin")})


@pytest.fixture(
    scope="module",
    params=["unpacked", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("wheel", "editable"))],
)
def installation(request, wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "unpacked":
            made = unpacked(wheel, folder)
        case "wheel":
            made = fresh(folder, str(wheel))
        case "editable":
            made = fresh(folder, "-e", str(ROOT))
    made.environment["OMP_NUM_THREADS"] = "1"
    found = made.run(folder, "python", "-c", "import seqmodels; print(seqmodels.__file__)").strip()
    assert Path(found).is_relative_to(ROOT if request.param == "editable" else folder)
    return made


@pytest.fixture
def project(installation, tmp_path):
    """Copy a program into an empty folder; returns a function that runs a command there."""

    def project(name):
        shutil.copytree(FOREIGN / name, tmp_path / name)
        return lambda *words, code=0: installation.run(tmp_path / name, *words, code=code)

    return project


def test_a_lightning_program(project):
    assert "trained, saved and loaded" in project("lightning")("python", "program.py")


TRAINER = ["max_steps=20", "accelerator=cpu", "logger=false", "enable_progress_bar=false", "enable_model_summary=false"]
LAYER = ["=seqmodels.layers.ManualRNN", ".hidden_size=8", ".batch_first=true"]
MODEL = ["=seqmodels.model.SequenceModel", ".input_size=2", ".output_size=1", *(f".layer{word}" for word in LAYER)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param("TheirModule", [".hidden_size=8", ".nonlinearity=relu"], marks=pytest.mark.slow),
        pytest.param("TheirLearner", [".hidden_size=8"], marks=pytest.mark.slow),
        ("Learner", [*(f".model{word}" for word in MODEL), ".optimizer=torch.optim.Adam", ".optimizer.lr=0.01"]),
    ],
)
def test_a_lightning_cli_program(project, name, settings):
    words = ["--data.task=seqmodels.tasks.Adding", "--data.task.length=10", "--data.train_batches=20"]
    words += [f"--model{setting}" for setting in settings] + [f"--trainer.{setting}" for setting in TRAINER]
    assert f"{name}, Adding: 20 steps" in project("lightning_cli")("python", "program.py", name, "fit", *words)


def test_a_bare_loop(project):
    assert "test accuracy 1.0" in project("bare_loop")("python", "program.py")


def test_a_hydra_application(project):
    words = ["-m", "model=small,careful", "seqmodels/model@layer=manual_rnn,nn_lstm", "layer.hidden_size=4"]
    shown = project("hydra_app")("python", "program.py", *words)
    for layer in ("ManualRNN", "LSTM"):
        for model in ("small", "careful"):
            assert f"{layer} Adding {model}" in shown


def test_the_choices_and_the_traps_of_a_hydra_application(project):
    run = project("hydra_app")
    complaint = run("python", "program.py", "seqmodels/model@layer=lstm", code=1)
    listed = complaint.partition("Available options in 'seqmodels/model':\n")[2].partition("Config search path")[0]
    assert listed.split() == sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
    assert "layer: nn_lstm\n" in run(
        "python", "program.py", "layer=nn_lstm", "--cfg", "job"
    )  # a string, as the page says
    assert "Could not find 'model/nn_lstm'" in run("python", "program.py", "model=nn_lstm", code=1)
    assert "Did you mean to override seqmodels/model@layer?" in run(
        "python", "program.py", "seqmodels/model=nn_lstm", code=1
    )


def test_the_page_shows_a_config_that_composes(project, tmp_path):
    run = project("hydra_app")
    page = (ROOT / "conf" / "README.md").read_text()
    (tmp_path / "hydra_app" / "conf" / "page.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    shown = OmegaConf.create(run("python", "program.py", "--config-name", "page", "--cfg", "job"))
    assert shown.model.name == "small"
    assert shown.layer._target_ == "seqmodels.layers.ManualRNN"
    assert shown.layer.hidden_size == 8
    assert shown.task._target_ == "seqmodels.tasks.memory.Adding"


@pytest.mark.parametrize("words", [["seqmodels"], pytest.param(["python", "-m", "seqmodels"], marks=pytest.mark.slow)])
def test_a_layer_and_a_task_of_ones_own(project, words):
    run = project("own_package")
    command = [*words, "train", "--config-dir", "my_conf", "model=leaky_rnn", "task=last_bit"]
    page = run(*command, "--help")
    assert re.search(r"^model: .*\bleaky_rnn\b", page, re.MULTILINE)
    assert "_target_: their_tasks.LastBit" in page
    settings = ["trainer.max_steps=100", "trainer.enable_progress_bar=false", "logger=none", "hydra.run.dir=run"]
    assert "their_layers.LeakyRNN" in run(*command, *settings)
    assert "LeakyRNN: 1.00" in run("python", "program.py")


def test_the_task_of_ones_own_that_the_page_shows(project, tmp_path):
    run = project("own_package")
    page = (ROOT / "seqmodels" / "tasks" / "README.md").read_text().partition("## Your own task")[2]
    for name, kind in (("my_tasks.py", "python"), ("my_conf/task/sign.yaml", "yaml")):
        block = re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1]
        (tmp_path / "own_package" / name).write_text(block)
    settings = ["trainer.max_steps=200", "logger=none", "hydra.run.dir=run"]
    shown = run("seqmodels", "train", "--config-dir", "my_conf", "task=sign", *settings)
    assert re.search(r"verdict +. solved", shown)


def test_every_choice_composes_in_another_application(tmp_path):
    """Under `seqmodels/` each file includes the same others as in conf/ itself."""
    whole = ("experiment", "launcher", "sweep")  # these change whole configs, and Hydra's own settings
    files = [file for file in CONF.glob("*/*.yaml") if file.parent.name not in whole]
    assert len(files) > 70

    def composed(folder, prefix, *overrides):
        choices = [f"+{prefix}{file.parent.name}@{file.parent.name}.{file.stem}={file.stem}" for file in files]
        with hydra.initialize_config_dir(str(folder), version_base="1.3"):
            config = hydra.compose(None, [*choices, *overrides])
        return OmegaConf.to_container(config, resolve=False)

    ours = composed(CONF, "")
    assert ours["model"]["manual_rnn"]["hidden_size"] == 64
    assert composed(tmp_path, "seqmodels/", "hydra.searchpath=[pkg://seqmodels.conf]") == ours
