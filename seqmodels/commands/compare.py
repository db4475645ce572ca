"""`seqmodels compare`: finished runs compared over their seeds."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from seqmodels.checks import UserError
from seqmodels.commands.door import command, quick_imports
from seqmodels.config import arguments_of

if TYPE_CHECKING:
    from seqmodels.experiments.comparison import Comparison


@command("compare")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.experiments.comparison import compare, runs_in, write_comparison
        from seqmodels.experiments.page import write_comparison_page

    settings = arguments_of(config)
    by = settings["by"].split(",") if isinstance(settings["by"], str) else settings["by"]
    if not isinstance(by, list):
        raise UserError(f"by should name settings, such as model,task, got {by!r}")
    root = Path(str(settings["folder"]))
    if not root.is_dir():
        raise UserError(f"folder={root}: there is no such folder")
    runs, errors, unfinished = runs_in(root)
    for left_out in errors:
        print(f"left out: {left_out}", file=sys.stderr)
    baseline = None if settings["baseline"] is None else str(settings["baseline"])
    comparison = compare(runs, [str(name) for name in by], baseline, settings["score"], unfinished)
    write_comparison(comparison, root / "comparison")
    write_comparison_page(comparison, root / "comparison", errors)
    console = Console(width=None if sys.stdout.isatty() else 160)
    show(comparison, console)
    console.print(f"Tables and pictures are in [bold]{escape(str(root / 'comparison'))}[/bold]", soft_wrap=True)


def show(comparison: "Comparison", console: Console) -> None:
    """Print the table of a comparison, and its warnings."""
    from seqmodels.experiments.comparison import cells_of

    header, rows = cells_of(comparison)
    console.print(Text(comparison.title))
    table = Table()
    for name in header:
        table.add_column(Text(name))
    place = header.index("task") if "task" in header else None
    for number, row in enumerate(rows):
        last = place is not None and number + 1 < len(rows) and rows[number + 1][place] != row[place]
        table.add_row(*map(Text, row), end_section=last)
    console.print(table)
    for warning in comparison.warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}", soft_wrap=True)
