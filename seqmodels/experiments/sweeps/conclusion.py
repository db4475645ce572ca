"""The end of a sweep: a table of its runs, and a comparison of them."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from seqmodels.checks import UserError
from seqmodels.experiments.comparisons.comparison import Comparison, compare
from seqmodels.experiments.comparisons.folders import find_runs
from seqmodels.experiments.comparisons.output import header_and_rows, write_comparison
from seqmodels.experiments.comparisons.page import write_comparison_page
from seqmodels.experiments.sweeps.sweep import Run, Sweep
from seqmodels.report.tables import fitted, significant
from seqmodels.untrusted.reading import printable

LEAST_NEEDED = ("parameters", "metric", "p", "diverged", "seeds", "seeds needed")
"""Columns of a comparison that are left out on a narrow terminal, the least needed first."""


def conclude(sweep: Sweep, console: Console, baseline: str | None) -> None:
    """Print a table of all runs, and compare those that have finished by model, task and the other swept settings.

    The comparison is written to comparison/ in the sweep's folder.
    """
    table = Table("run", "state", "validation", "test", "solved", "seconds")
    for run in sweep.runs:
        table.add_row(*map(Text, cells_of_run(run)))
    console.print(table)
    try:
        found = find_runs(sweep.folder)
        comparison = compare(found.runs, found.by, baseline, warnings=found.warnings)
        write_comparison(comparison, sweep.folder / "comparison")
        write_comparison_page(comparison, sweep.folder / "comparison")
        show(comparison, console)
    except UserError as error:
        console.print(f"no comparison: {error}", markup=False, soft_wrap=True)
    console.print(f"The sweep is in [bold]{escape(str(sweep.folder))}[/bold]", soft_wrap=True)


def cells_of_run(run: Run) -> list[str]:
    result = run.result() if run.state == "done" else None
    if result is None:
        return [printable(run.name), run.state, "", "", "", ""]
    scores = ["" if score is None else significant(score) for score in (result.get("validation"), result["test"])]
    diverged = result["diverged_at"] is not None
    state = f"diverged at step {result['diverged_at']}" if diverged else run.state
    return [printable(run.name), state, *scores, "yes" if result["solved"] else "no", f"{result['seconds']:.0f}"]


def show(comparison: Comparison, console: Console) -> None:
    """Print the table of a comparison, and its warnings."""
    screen, hidden = fitted(*header_and_rows(comparison), console.width, LEAST_NEEDED, by="task")
    console.print(Text(comparison.title), soft_wrap=True)
    console.print(screen)
    if hidden:
        console.print(f"not shown, because the terminal is too narrow: {', '.join(hidden)}", soft_wrap=True)
    for warning in comparison.warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}", soft_wrap=True)
