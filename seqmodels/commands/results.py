"""`seqmodels results`: a table of finished runs."""

import sys
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seqmodels.checks import UserError, as_user_errors, check_flag
from seqmodels.commands.door import command, quick_imports


@command("results")
def main(config: DictConfig, folder: Path) -> None:
    with quick_imports():
        from seqmodels.experiments.results import cells_of, collect
        from seqmodels.report.tables import markdown_table

    with as_user_errors():
        check_flag("markdown", config.markdown)
    try:
        table = collect(Path(str(config.folder)))
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error
    if config.markdown:
        print(markdown_table(list(map(str, table.columns)), cells_of(table)))
        return
    screen = Table()
    for name in table.columns:
        screen.add_column(str(name), overflow="fold")
    for row in cells_of(table):
        screen.add_row(*map(escape, row))
    Console(width=None if sys.stdout.isatty() else 120).print(screen)
