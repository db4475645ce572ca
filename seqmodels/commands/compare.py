"""`seqmodels compare`: finished runs compared over their seeds."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.text import Text

from seqmodels.checks import UserError
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of

if TYPE_CHECKING:
    from seqmodels.experiments.comparison import Comparison

LEAST_NEEDED = ("parameters", "metric", "p", "diverged", "seeds", "seeds needed")
"""Columns that a narrow terminal does without, the least needed first."""


@command("compare", lists=("by",))
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.experiments.comparison import compare, runs_in, write_comparison
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


def show(comparison: "Comparison", console: Console) -> None:
    """Print the table of a comparison, and its warnings."""
    from seqmodels.experiments.comparison import cells_of
    from seqmodels.report.tables import fitted

    screen, hidden = fitted(*cells_of(comparison), console.width, LEAST_NEEDED, by="task")
    console.print(Text(comparison.title), soft_wrap=True)
    console.print(screen)
    if hidden:
        console.print(f"not shown, because the terminal is too narrow: {', '.join(hidden)}", soft_wrap=True)
    for warning in comparison.warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}", soft_wrap=True)
