"""The files in a run folder: config, result and pictures. Each is written atomically."""

import io
import json
import shlex
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from seqmodels.checks import UserError
from seqmodels.config.folders import override
from seqmodels.files import digest_of, write_whole


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds a run, with a UserError."""
    if (folder / "config.yaml").exists():
        raise UserError(
            f"{folder} holds a run already: choose another folder with hydra.run.dir=..., "
            f"or continue that run with {shlex.quote(override('resume', folder))}"
        )


def write_config(text: str, folder: Path) -> None:
    """Write the config that the run was started with, as YAML, to config.yaml."""
    write_whole(folder / "config.yaml", text.encode())


def write_result(result: dict[str, Any], folder: Path) -> None:
    """Write the result to result.json, with the digests of the files that it rests on."""
    names = ["config.yaml", "checkpoints/best.ckpt"]
    digests = {name: digest_of((folder / name).read_bytes()) for name in names if (folder / name).exists()}
    write_whole(folder / "result.json", (json.dumps(result | {"digests": digests}, indent=2) + "\n").encode())


def write_picture(figure: Figure, file: Path) -> None:
    """Write a figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_whole(file, content.getvalue())
