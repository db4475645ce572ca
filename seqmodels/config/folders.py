"""The folders of the package and of its configs, and how folders and other settings are typed."""

import re
from pathlib import Path
from typing import Any

from hydra.types import RunMode

from seqmodels.checks import UserError

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE.parent / "conf", PACKAGE / "conf" / "seqmodels")
CONF = next(folder for folder in PLACES if (folder / "verb.yaml").is_file())
"""A checkout has conf/ beside the package, an installed package carries it inside."""


def override(name: str, path: object) -> str:
    """The override that sets a setting to a path, quoted for Hydra's grammar if necessary."""
    text = str(path)
    if re.fullmatch(r"[\w./+-]+", text, re.ASCII):
        return f"{name}={text}"
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name}="{quoted}"'


def name_in(word: str) -> str:
    """The name of the setting that an override sets."""
    return word.lstrip("+~").partition("=")[0]


def check_config_dir(folder: Path) -> None:
    """Refuse a file of --config-dir that Hydra would not read, because conf/ has another one of the same name."""
    for file in sorted(folder.rglob("*.yaml")):
        name = file.relative_to(folder)
        ours = CONF / name
        if ours.is_file() and ours.read_bytes() != file.read_bytes():
            raise UserError(f"{file} would not be read, because {name} exists in the package's conf/: rename it")


def check_folders(settings: Any) -> None:
    """Refuse what Hydra would ignore: a sweep's folder or launcher for a single run, a run's folder for a sweep."""
    sweep = settings.mode == RunMode.MULTIRUN
    launcher = settings.runtime.choices["hydra/launcher"]
    if not sweep and launcher != "basic":
        raise UserError(f"launcher {launcher}: a launcher starts the runs of a sweep, and this is a single run: add -m")
    ignored, instead = ("hydra.run.", "hydra.sweep.dir") if sweep else ("hydra.sweep.", "hydra.run.dir")
    for word in settings.overrides.hydra:
        if word.rstrip("'\" ") in ("hydra.run.dir=", "hydra.sweep.dir="):
            raise UserError(f"{word}: a folder is needed")
        if word.startswith(ignored):
            kind = "a sweep (-m)" if sweep else "a single run (without -m)"
            raise UserError(f"{word}: {kind} does not use it; its folder is {instead}")
        if word.startswith("hydra.sweep.subdir="):
            raise UserError(f"{word}: the folder of a run below hydra.sweep.dir follows from its settings")
