"""Tables for the screen and for Markdown pages, and the numbers in them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:  # it imports torch, for which a table of runs would have to wait
    from seqmodels.parity import ParityReport


def significant(value: float, digits: int = 4) -> str:
    """A number with this many significant digits."""
    return f"{value:.{digits}g}"


def span(shortest: int, longest: int) -> str:
    """A range of lengths: "1 to 40", or "40" where both are equal."""
    return str(longest) if shortest == longest else f"{shortest} to {longest}"


def counted(count: int, noun: str) -> str:
    """A count and its noun: "1 step", "2 steps"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a newline at its end. Cells may hold any text: bars and line breaks are escaped."""
    lines = []
    for row in [header, ["---"] * len(header), *rows]:
        assert len(row) == len(header), f"expected {len(header)} cells, got {row}"
        cells = [cell.replace("|", "\\|").replace("\n", "<br>") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def result_table(result: dict[str, Any]) -> Table:
    """The test score of a run, between chance and the baselines, with its verdict and its cost."""
    table = Table(title=escape(result["claim"]) if result["claim"] else None, show_header=False)
    steps, seconds = counted(result["steps"], "step"), rounded(result["seconds"])
    rows = {
        "task": result["task"],
        "model": f"{result['model']} ({result['layer']}, {counted(result['parameters'], 'parameter')})",
        f"test {result['metric']}": significant(result["test"]),
        "chance": significant(result["chance"]),
        **{name: significant(value) for name, value in result["baselines"].items()},
        "verdict": "solved" if result["solved"] else "not solved",
        "time": f"{steps} in {seconds} s, {rounded(result['steps_per_second'])} steps/s",
    }
    for name, value in rows.items():
        table.add_row(escape(name), escape(value), style="bold green" if value == "solved" else None)
    return table


def rounded(value: float) -> str:
    """A number rounded to a whole one, or below 10 to two significant digits."""
    return f"{value:.0f}" if value >= 10 else significant(value, 2)


def lengths_table(result: dict[str, Any]) -> Table:
    """The score at each tested length beside chance, and the means of both."""
    table = Table(title=f"trained at length {span(*result['trained_lengths'])}")
    for name in ("length", f"test {escape(result['metric'])}", "chance", ""):
        table.add_column(name, justify="right")
    for row in result["lengths"]:
        note = "unseen" if row["unseen"] else ""
        table.add_row(str(row["length"]), significant(row["test"]), significant(row["chance"]), note)
    table.add_section()
    table.add_row("mean", significant(result["test"]), significant(result["chance"]))
    if result["unseen"] is not None:
        chances = [row["chance"] for row in result["lengths"] if row["unseen"]]
        mean = sum(chances) / len(chances)
        table.add_row("mean of the unseen", significant(result["unseen"]), significant(mean))
    return table


def parity_table(report: "ParityReport") -> Table:
    """The errors of each tensor of a layer against its reference."""
    table = Table(title=escape(f"{report.layer} against {report.reference}, float64"))
    table.add_column("tensor")
    table.add_column("largest error", justify="right")
    table.add_column("relative", justify="right")
    table.add_column("")
    for deviation in report.deviations:
        verdict = deviation.note or "differs" if deviation in report.failures else "equal"
        errors = f"{deviation.absolute:.1e}", f"{deviation.relative:.1e}"
        table.add_row(escape(deviation.tensor), *errors, escape(verdict))
    return table
