"""Tables: numbers as one writes them, and text that is shown as it is."""

import io
import math

import pytest
from report.results import LENGTHS, result_with
from rich.console import Console

from seqmodels.parity import Deviation, ParityReport
from seqmodels.report.tables import (
    counted,
    fitted,
    latex_table,
    lengths_table,
    markdown_table,
    parity_table,
    result_table,
    rows_table,
    significant,
    span,
)


def shown(table):
    file = io.StringIO()
    Console(file=file, width=160).print(table)
    return file.getvalue()


def test_rows_that_name_their_cells_are_a_table():
    text = shown(
        rows_table([{"name": "[x]", "mean": 1.23456}, {"name": "y", "mean": None}, {"name": "z", "mean": 1}], 2)
    )
    assert "[x]" in text
    assert "1.235" in text
    assert "None" not in text
    assert "z" not in text
    assert "..." in text


def rows_of(table):
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_numbers():
    assert [significant(value) for value in (0.123456, 1, 35.98321)] == ["0.1235", "1", "35.98"]
    assert significant(0.123456, 2) == "0.12"
    assert (span(1, 40), span(40, 40)) == ("1 to 40", "40")
    assert (counted(1, "step"), counted(0, "step"), counted(12, "step")) == ("1 step", "0 steps", "12 steps")


def test_a_markdown_table_escapes_what_would_break_it():
    table = markdown_table(["a|b", "c"], [["1 | 2", "x\ny"], ["`p|q`", ""]])
    assert table.splitlines() == [r"| a\|b | c |", "| --- | --- |", r"| 1 \| 2 | x<br>y |", r"| `p\|q` |  |"]


def test_a_row_with_a_cell_too_few_is_a_bug():
    with pytest.raises(AssertionError, match="expected 2 cells"):
        markdown_table(["a", "b"], [["1"]])


def test_the_result_in_words():
    rows = dict(rows_of(result_table(result_with(baselines={"persistence": 0.25}))))
    assert rows["model"] == "my_rnn (layers.RNN, 4482 parameters)"
    assert rows["time"] == "300 steps in 3.2 s, 94 steps/s"
    assert (rows["test mse"], rows["chance"], rows["persistence"]) == ("0.02", "0.5", "0.25")
    assert rows["verdict"] == "not solved"
    rows = dict(rows_of(result_table(result_with(steps=1, parameters=1, seconds=83.4, solved=True))))
    assert "1 parameter)" in rows["model"]
    assert rows["time"].startswith("1 step in 83 s")
    assert rows["verdict"] == "solved"


def test_text_from_a_run_is_no_markup():
    result = result_with(claim="[bold]claim[/bold]", model="[red]m", task="t[/x]", baselines={"[i]b": 1.0})
    text = shown(result_table(result))
    for written in ("[bold]claim[/bold]", "[red]m", "t[/x]", "[i]b"):
        assert written in text


def test_lengths_and_the_mean_of_the_unseen():
    table = lengths_table(result_with(**LENGTHS))
    assert table.title == "trained at length 1 to 40"
    assert rows_of(table) == [
        ("320", "0.08", "0.6", "unseen"),
        ("40", "0.02", "0.4", ""),
        ("80", "0.05", "0.2", "unseen"),
        ("mean", "0.05", "0.5", ""),
        ("mean of the unseen", "0.065", "0.4", ""),
    ]


def test_parity_row_by_row():
    equal, off = Deviation("output", 0.0, 1e-14), Deviation("gradient of w", 0.5, 0.25)
    raised = Deviation("forward", math.inf, math.inf, "raised KeyError: x[red][0]")
    report = ParityReport("Mine", "torch.nn.RNN", 1e-10, [equal, off, raised])
    table = parity_table(report)
    assert table.title == "Mine against torch.nn.RNN, float64"
    assert [row[:3] for row in rows_of(table)] == [
        ("output", "0.0e+00", "1.0e-14"),
        ("gradient of w", "5.0e-01", "2.5e-01"),
        ("forward", "inf", "inf"),
    ]
    assert [row[3] for row in rows_of(table)][:2] == ["equal", "differs"]
    assert "raised KeyError: x[red][0]" in shown(table)


def test_a_narrow_screen_shows_whole_cells_of_fewer_columns():
    header = ["task", "model", "validation", "parameters", "steps/s", "folder"]
    rows = [["adding", "[b]rnn", "0.5", "4482", "294", "x" * 40], ["sine", "rnn", "0.5", "4482", "294", "x"]]
    table, hidden = fitted(header, rows, 200, ["steps/s", "parameters", "folder"])
    assert ([str(column.header) for column in table.columns], hidden) == (header, [])
    table, hidden = fitted(header, rows, 84, ["steps/s", "parameters", "folder"], by="task")
    assert hidden == ["steps/s", "parameters"]
    lines = shown(table).splitlines()
    assert len(lines) == 3 + 2 + 1 + 1  # the header, the rows, the end, and a line between the tasks
    assert max(map(len, lines)) <= 84
    assert "[b]rnn" in lines[3]
    assert "x" * 40 in lines[3]


def test_a_latex_table_holds_any_text():
    table = latex_table(["a_b", "50 %"], [["x & y", "\\input{/etc/passwd}"], ["$h^2$", "caf\u00e9 ~ #[1]<2>"]], "a & b")
    lines = table.splitlines()
    assert lines[:4] == [r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", r"\caption{a \& b}"]
    assert r"a\_b & 50 \% \\" in lines
    assert r"x \& y & \textbackslash{}input\{/etc/passwd\} \\" in lines
    assert table.isascii()
    assert lines[-1] == r"\end{table}"
