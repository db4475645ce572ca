"""The end of a sweep: a table of its runs."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seqmodels.experiments.sweep import Run, Sweep
from seqmodels.report.tables import significant
from seqmodels.untrusted.reading import printable


def conclude(sweep: Sweep, console: Console) -> None:
    """Print a table of all runs: the score on validation, and on the test, and for one that failed, why."""
    table = Table("run", "state", "validation", "test", "solved", "seconds")
    for run in sweep.runs:
        table.add_row(*map(Text, cells_of(run)))
    console.print(table)
    console.print(f"The sweep is in [bold]{sweep.folder}[/bold]", soft_wrap=True)


def cells_of(run: Run) -> list[str]:
    result = run.result() if run.state == "done" else None
    if result is None:
        return [printable(run.name), run.state, "", "", "", ""]
    validation, test = (
        "" if score is None else significant(score) for score in (result.get("validation"), result["test"])
    )
    diverged = result["diverged_at"] is not None
    state = f"diverged at step {result['diverged_at']}" if diverged else run.state
    return [
        printable(run.name), state, validation, test, "yes" if result["solved"] else "no", f"{result['seconds']:.0f}",
    ]  # fmt: skip
