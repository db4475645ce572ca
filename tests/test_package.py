"""The package as users receive it: its imports, its wheel, and what its README says."""

import ast
import graphlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from seqmodels.config import compose

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


FLOORS = [
    {"checks", "signatures", "stops"},
    {"files", "processes"},
    {"layers", "tasks", "untrusted"},
    {"batches", "config", "lesson", "model", "parity"},
    {"lens"},
    {"data", "learner", "report"},
    {"catalogue", "export", "restore"},
    {"predict"},
    {"runs"},
    {"speed"},
    {"experiments"},
    {"commands"},
    {"__main__"},
]
"""The rooms of the package, from the ground up. A room imports from those below it, and layers do not know tasks."""


def imports():
    """Pairs (importing, imported) of modules of the package, wherever in a file the import stands."""
    package = ROOT / "seqmodels"
    modules = {}
    for file in package.rglob("*.py"):
        name = ".".join(["seqmodels", *file.relative_to(package).with_suffix("").parts])
        modules[name.removesuffix(".__init__")] = ast.parse(file.read_text())
    for importing, tree in modules.items():
        for node in ast.walk(tree):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names += [f"{node.module}.{alias.name}" for alias in node.names]
            for imported in sorted({name for name in names if name in modules} - {"seqmodels", importing}):
                yield importing, imported


def test_imports_go_down_only():
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    pairs = [(importing, imported) for importing, imported in imports() if importing != "seqmodels"]
    assert len(pairs) > 100
    for importing, imported in pairs:
        room, other = importing.split(".")[1], imported.split(".")[1]
        assert room == other or floor_of[room] > floor_of[other], f"{importing} imports {imported}"


def test_no_module_imports_itself_through_others():
    below = {}
    for importing, imported in imports():
        # A package's __init__ collects its modules; what they import from one another is what counts.
        if not imported.startswith(importing + ".") and importing != "seqmodels":
            below.setdefault(importing, set()).add(imported)

    graphlib.TopologicalSorter(below).prepare()  # raises CycleError


FRAMEWORKS = {"lightning", "pytorch_lightning", "hydra", "omegaconf"}


@pytest.mark.parametrize(
    ("modules", "unneeded"),
    [
        # numba compiles where the backend "compiled" is asked for, and costs a second to import
        (["layers", "parity", "lesson"], FRAMEWORKS | {"torchmetrics", "pandas", "rich", "numba", "llvmlite"}),
        (["tasks", "batches", "model"], FRAMEWORKS),
    ],
)
def test_what_can_be_imported_without_lightning_and_hydra(modules, unneeded):
    imports = "; ".join(f"import seqmodels.{module}" for module in modules)
    script = f"import sys; {imports}; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not unneeded & set(loaded)


def test_the_verbs_are_listed_without_importing_much():
    script = "import sys; from seqmodels.__main__ import main; main([]); print(*sys.modules, file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "numpy"} & set(shown.stderr.split())
    shared = {"__init__", "door", "help", "listing"}
    verbs = {file.stem for file in (ROOT / "seqmodels" / "commands").glob("*.py")} - shared
    assert {line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")} == verbs


def test_the_wheel_holds_configs_data_and_types(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    places = {"conf": "seqmodels/conf/seqmodels", "data": "seqmodels/data"}
    needed = {
        f"{place}/{file.relative_to(ROOT / folder)}"
        for folder, place in places.items()
        for file in (ROOT / folder).rglob("*.*")
    }
    assert needed | {"seqmodels/conf/__init__.py", "seqmodels/py.typed"} <= names
    assert len(names) == len(zipfile.ZipFile(wheel).namelist())
    (scripts,) = (name for name in names if name.endswith("entry_points.txt"))
    assert "seqmodels = seqmodels.__main__:main" in zipfile.ZipFile(wheel).read(scripts).decode()
    assert not [name for name in names if name.startswith(("tests", "conf", "outputs"))]


def test_a_checkout_without_symbolic_links_makes_the_same_wheel(wheel, tmp_path):
    """So it is with a source distribution, and with git on Windows, which writes a text file in place of a link."""
    script = f"from hatchling.build import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (source,) = (folder for folder in tmp_path.iterdir() if folder.is_dir())
    link = source / "seqmodels" / "conf" / "seqmodels"
    assert not link.exists()
    link.write_text("../../conf")
    shown = subprocess.run(
        [sys.executable, "train.py", "--help"], cwd=source, capture_output=True, text=True, check=True
    )
    assert "manual_rnn" in shown.stdout
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=source, check=True)
    assert set(zipfile.ZipFile(tmp_path / wheel.name).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_installed_commands_find_the_configs_and_the_data_of_the_wheel(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)  # what installing it does
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)  # a repository, but not that of the package
    words = ["train", "task=co2", "model.hidden_size=4", "trainer=smoke", "logger=none", "hydra.run.dir=run"]
    command = [sys.executable, "-m", "seqmodels", *words]
    environment = {
        "PYTHONPATH": str(site),
        "PATH": os.environ["PATH"],
        "PYTHONIOENCODING": "ascii",
        "TZ": "Pacific/Kiritimati",
    }
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "gradient of weight_hh_l0" in shown.stdout
    assert json.loads((tmp_path / "run" / "result.json").read_text())["git"] is None


def test_the_readme_shows_the_two_commands():
    assert "\npip install -c constraints.txt -e . && python train.py model=manual_rnn\n" in README
    assert '\npip install -c constraints.txt -e ".[test]" && pytest\n' in README


def test_the_tree_in_contributing_is_the_tree():
    tree = re.search(r"```text\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
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
    # layers/ and tasks/ may gain a file without the page having to know
    modules = {file.relative_to(ROOT).as_posix() for file in (ROOT / "seqmodels").glob("*.py")}
    assert {module for module in modules if "__init__" not in module} <= named


@pytest.mark.parametrize("block", re.findall(r"```python\n(.*?)```", README, re.DOTALL))
def test_the_python_in_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(block, {"__name__": "readme"})


PAGES = ["README.md", *(str(file.relative_to(ROOT)) for file in (ROOT / "seqmodels").rglob("*.md"))]
PAGES += [str(file.relative_to(ROOT)) for file in (ROOT / "conf").rglob("*.md")] + ["CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_in_the_pages_compose(page):
    commands = re.findall(r"^(?:python (train\.py)|seqmodels (\w+))([^#\n]*)", (ROOT / page).read_text(), re.MULTILINE)
    assert page != "README.md" or len(commands) > 12
    for _, verb, words in commands:
        overrides = [word for word in shlex.split(words.partition(" && ")[0].partition(" > ")[0]) if word[0] != "-"]
        if verb in ("", "train") and "-m" in words.split():
            overrides = [word.partition("=")[0] + "=" + first_of(word.partition("=")[2]) for word in overrides]
        compose(*[word for word in overrides if "=" in word or word[0] == "~"], config_name=verb or "train")


def first_of(values):
    """The first value of a sweep."""
    if values.startswith(("range(", "glob(")):
        return {"range(": values[6:].partition(",")[0], "glob(": "manual_rnn"}[values.partition("(")[0] + "("]
    return values if values.startswith("[") else values.partition(",")[0]
