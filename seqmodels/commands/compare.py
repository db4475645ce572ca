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
        from seqmodels.experiments.comparison import compare, runs_in, write_comparison
        from seqmodels.experiments.conclusion import show
        from seqmodels.experiments.page import write_comparison_page

    settings = arguments_of(config)
    if not isinstance(settings["by"], list):
        raise UserError(f"by should name settings, such as model,task, got {settings['by']!r}")
    root = Path(str(settings["folder"]))
    if not root.is_dir():
        raise UserError(f"folder={root}: there is no such folder")
    runs, errors, unfinished = runs_in(root)
    for left_out in errors:
        print(f"left out: {left_out}", file=sys.stderr)
    baseline = None if settings["baseline"] is None else str(settings["baseline"])
    by = ["null" if name is None else str(name) for name in settings["by"]]
    comparison = compare(runs, by, baseline, settings["score"], unfinished, errors)
    write_comparison(comparison, root / "comparison")
    write_comparison_page(comparison, root / "comparison")
    console = Console(width=None if sys.stdout.isatty() else 1000)
    show(comparison, console)
    console.print(f"Tables and pictures are in [bold]{escape(str(root / 'comparison'))}[/bold]", soft_wrap=True)
