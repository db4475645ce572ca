"""`seqmodels compare`: compare finished runs over their seeds."""

import sys
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from seqmodels.checks import UserError
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of


@command("compare", lists=("by",))
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.experiments.comparisons.comparison import compare
        from seqmodels.experiments.comparisons.folders import comparison_folder, find_runs, folder_in
        from seqmodels.experiments.comparisons.output import write_comparison
        from seqmodels.experiments.comparisons.page import write_comparison_page
        from seqmodels.experiments.sweeps.conclusion import show

    settings = arguments_of(config)
    by = settings["by"]
    if by is not None and not isinstance(by, list):
        raise UserError(f"by should name settings, such as model,task, got {by!r}")
    root = folder_in(settings["folder"])
    found = find_runs(root)
    for left_out in found.errors:
        print(f"left out: {left_out}", file=sys.stderr)
    names = found.by if by is None else ["null" if name is None else str(name) for name in by]
    baseline = None if settings["baseline"] is None else str(settings["baseline"])
    comparison = compare(found.runs, names, baseline, settings["score"], found.warnings)
    place = comparison_folder(root, found.by, names, comparison.score)
    replaces = (place / "comparison.csv").exists()
    write_comparison(comparison, place)
    write_comparison_page(comparison, place)
    console = Console(width=None if sys.stdout.isatty() else 1000)
    show(comparison, console)
    where = f"[bold]{escape(str(place))}[/bold]{', in place of earlier ones' if replaces else ''}"
    console.print(f"Tables and pictures are in {where}", soft_wrap=True)
