"""`seqmodels results`: a table of finished runs."""

import sys
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from seqmodels.checks import UserError, as_user_errors, check_flag
from seqmodels.commands.door import command, quick_imports

LEAST_NEEDED = ("steps/s", "parameters", "metric", "chance", "steps", "date", "folder")
"""Columns that are left out on a narrow terminal, the least needed first."""


@command("results")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.experiments.comparisons.folders import folder_in
        from seqmodels.experiments.comparisons.listing import collect, text_of
        from seqmodels.report.tables import fitted, markdown_table
        from seqmodels.untrusted.reading import without_markup

    with as_user_errors():
        check_flag("markdown", config.markdown)
    table, errors = collect(folder_in(config.folder))
    for left_out in errors:
        print(f"left out: {left_out}", file=sys.stderr)
    if table.empty:
        raise UserError(f"none of the {len(errors)} results below {config.folder} can be shown")
    if config.markdown:
        rows = [[without_markup(cell) for cell in row] for row in text_of(table)]
        print(markdown_table([without_markup(str(name)) for name in table.columns], rows))
        return
    console = Console(width=None if sys.stdout.isatty() else 1000)
    screen, hidden = fitted(list(map(str, table.columns)), text_of(table), console.width, LEAST_NEEDED)
    console.print(screen)
    if hidden:
        print(f"not shown, because the terminal is too narrow: {', '.join(hidden)} (markdown=true shows all)")
