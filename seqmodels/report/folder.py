"""The config and the result in a run folder."""

import json
from pathlib import Path
from typing import Any

from seqmodels.checks import UserError


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds a run, with a UserError."""
    if (folder / "config.yaml").exists():
        raise UserError(f"hydra.run.dir={folder} holds a run already: choose another folder")


def write_config(text: str, folder: Path) -> None:
    """Write the config that the run was started with, as YAML, to config.yaml."""
    (folder / "config.yaml").write_text(text, encoding="utf-8")


def write_result(result: dict[str, Any], folder: Path) -> None:
    """Write the result to result.json."""
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
