"""`seqmodels page FOLDER`: write an HTML page for a run, or for a comparison of runs."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from seqmodels.checks import UserError, as_user_errors, check_flag
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of

REPEAT = "To have a result, train the run again."


@command("page", named=True)
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.experiments.comparisons.comparison import compare
        from seqmodels.experiments.comparisons.folders import find_runs
        from seqmodels.experiments.comparisons.page import write_comparison_page
        from seqmodels.experiments.comparisons.results import checked_result
        from seqmodels.runs.page import write_page
        from seqmodels.untrusted.reading import RunFolderError

    settings = arguments_of(config)
    with as_user_errors():
        check_flag("runs", config.runs)
    trusted = tuple(as_list(settings["trusted"]))
    places = [Path(name) for name in as_list(settings["name"]) if name]
    if not places:
        raise UserError("page needs a run folder, or a folder with runs below it: seqmodels page outputs/TASK/...")
    for place in places:
        if not place.is_dir():
            raise UserError(f"there is no folder {place}")
        if is_run(place):
            print(f"wrote {write_page(place, trusted)}")
            if (place / "result.json").exists():
                try:
                    checked_result(place / "result.json")
                except RunFolderError as damage:
                    print(f"warning: {damage}; the page shows the rest. {REPEAT}", file=sys.stderr)
            continue
        found = find_runs(place)
        for error in found.errors:
            print(f"left out: {error}", file=sys.stderr)
        if config.runs:
            for run in found.runs["folder"]:
                try:
                    print(f"wrote {write_page(Path(run), trusted)}")
                except UserError as error:
                    print(f"left out: {error}", file=sys.stderr)
        comparison = compare(found.runs, found.by, warnings=found.warnings)
        print(f"wrote {write_comparison_page(comparison, place / 'comparison')}")


def is_run(place: Path) -> bool:
    return (place / "config.yaml").is_file() or (place / "result.json").is_file()


def as_list(words: Any) -> list[str]:
    """The words of a setting as a list; the setting may be a list, a single word, or null."""
    return [] if words is None else [str(word) for word in (words if isinstance(words, list) else [words])]
