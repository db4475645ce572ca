"""`seqmodels page FOLDER`: what a run, or a comparison of runs, came to, as one HTML file."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqmodels.checks import UserError, as_user_errors, check_flag
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of


@command("page", named=True)
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.runs.page import write_page

    settings = arguments_of(config)
    with as_user_errors():
        check_flag("missing", config.missing)
    named = [Path(name) for name in listed(settings["name"])]
    if not named:
        raise UserError(
            "page needs a folder with a run, or with runs below it, as in seqmodels page outputs/TASK/MODEL/..."
        )
    for run in [run for place in named for run in runs_below(place)]:
        if config.missing and (run / "page.html").exists():
            continue
        try:
            print(f"wrote {write_page(run, tuple(listed(settings['trusted'])))}")
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)


def runs_below(place: Path) -> list[Path]:
    """A run folder itself, or all run folders below a folder.

    Raises:
        UserError: there is none.
    """
    if is_run(place):
        return [place]
    if not place.is_dir():
        raise UserError(f"there is no folder {place}")
    found = sorted({file.parent for name in ("config.yaml", "result.json") for file in place.rglob(name)})
    if not found:
        raise UserError(f"expected a run folder, or one with runs below it, and {place} has neither")
    return found


def is_run(place: Path) -> bool:
    return (place / "config.yaml").is_file() or (place / "result.json").is_file()


def listed(words: Any) -> list[str]:
    """Words as a list, which may have come as a single one, or as none."""
    return [] if words is None else [str(word) for word in (words if isinstance(words, list) else [words])]
