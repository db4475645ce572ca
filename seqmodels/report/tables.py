"""Tables for the screen and for Markdown pages, and the numbers in them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # it imports torch, which takes seconds, and a table of runs does not need it
    from seqmodels.parity import ParityReport


def significant(value: float, digits: int = 4) -> str:
    """A number with this many significant digits."""
    return f"{value:.{digits}g}"


def with_interval(value: float, low: float, high: float, sign: str = "-") -> str:
    """A number and an interval around it, with as many decimals as the width of the interval justifies.

    >>> with_interval(0.11592, 0.0644, 0.1593), with_interval(1503.2, 1400, 1700)
    ('0.116 [0.064, 0.159]', '1503 [1400, 1700]')
    """
    width = high - low
    if not width > 0:
        return f"{value:{sign}.4g}" + (f" [{low:{sign}.4g}, {high:{sign}.4g}]" if width == 0 else "")
    decimals = max(0, 1 - math.floor(math.log10(width / 2)))
    form = f"{sign}.{decimals}f" if decimals <= 6 else f"{sign}.3g"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def span(shortest: int, longest: int) -> str:
    """A range of lengths: "1 to 40", or "40" where both are equal."""
    return str(longest) if shortest == longest else f"{shortest} to {longest}"


def counted(count: int, noun: str) -> str:
    """A count and its noun: "1 step", "2 steps"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are: "a, b, c and 2 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a newline at its end. Cells may hold any text: bars and line breaks are escaped."""
    lines = []
    for row in [header, ["---"] * len(header), *rows]:
        assert len(row) == len(header), f"expected {len(header)} cells, got {row}"
        cells = [cell.replace("|", "\\|").replace("\n", "<br>") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, least_needed: Sequence[str], by: str = ""
) -> tuple[Table, list[str]]:
    """A table for the screen in which no cell is broken, and the names of the columns left out to make it fit.

    Args:
        width: of the screen, in characters.
        least_needed: the columns that can be left out, first those needed least.
        by: a column; a line is drawn where its value changes.
    """
    wide = {name: max(map(len, cells)) for name, *cells in zip(header, header, *rows, strict=True)}
    hidden: list[str] = []
    for name in least_needed:
        if name in wide and sum(wide.values()) + 3 * len(wide) + 1 > width:
            del wide[name]
            hidden.append(name)
    table = Table()
    for name in wide:
        table.add_column(Text(name), no_wrap=True)
    cells = [dict(zip(header, row, strict=True)) for row in rows]
    for row, below in zip(cells, [*cells[1:], {}], strict=True):
        table.add_row(*(Text(row[name]) for name in wide), end_section=row.get(by) != below.get(by))
    return table, hidden


def latex_table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A LaTeX table, for the package booktabs. Cells and caption may contain any text; it is written in ASCII."""
    lines = [" & ".join(map(as_latex, row)) + r" \\" for row in [header, *rows]]
    lines = [
        rf"\begin{{tabular}}{{{'l' * len(header)}}}",
        r"\toprule",
        lines[0],
        r"\midrule",
        *lines[1:],
        r"\bottomrule",
        r"\end{tabular}",
    ]
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{as_latex(caption)}}}",
        *lines,
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def as_latex(text: str) -> str:
    """Text that LaTeX typesets as it is.

    >>> print(as_latex("50 % of a_b"))
    50 \\% of a\\_b
    """
    text = text.encode("ascii", "backslashreplace").decode()
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
             ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}"}  # fmt: skip
    named |= {char: "\\" + char for char in "&%$#_{}"}
    return "".join(named.get(char, char) for char in text)


def result_table(result: dict[str, Any]) -> Table:
    """The test score of a run, between chance and the baselines, with its verdict and its cost."""
    table = Table(title=escape(result["claim"]) if result["claim"] else None, show_header=False)
    steps, seconds = counted(result["steps"], "step"), rounded(result["seconds"])
    rows = {
        "task": result["task"],
        "model": f"{result['model']} ({result['layer']}, {size_of(result)})",
        f"test {result['metric']}": significant(result["test"]),
        "chance": significant(result["chance"]),
        **{name: significant(value) for name, value in result["baselines"].items()},
        "verdict": "solved" if result["solved"] else "not solved",
        "time": f"{steps} in {seconds} s, {rounded(result['steps_per_second'])} steps/s",
    }
    for name, value in rows.items():
        table.add_row(escape(name), escape(value), style="bold green" if value == "solved" else None)
    return table


def size_of(result: dict[str, Any]) -> str:
    """The number of a model's parameters, and of those that were trained, if some were not."""
    total = result["parameters"]
    trained = result.get("trained_parameters", total)
    return counted(total, "parameter") + ("" if trained == total else f", {trained} of them trained")


def rows_table(rows: Sequence[Mapping[str, Any]], most: int = 24) -> Table:
    """A table of the first rows, `most` at most, that name their cells; numbers with four digits."""
    names = list(rows[0]) if rows else []
    table = Table()
    for name in names:
        numeric = all(isinstance(row[name], int | float | None) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left")
    for row in rows[:most]:
        cells = ("" if row[name] is None else row[name] for name in names)
        table.add_row(*(Text(significant(cell) if isinstance(cell, float) else str(cell)) for cell in cells))
    if len(rows) > most:
        table.add_row(*["..."] * len(names))
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
