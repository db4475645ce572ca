"""A stream: lines of CSV in, an answer out for each as soon as it is known."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import pandas as pd

from seqmodels.checks import UserError, nearest
from seqmodels.model import SequenceModel
from seqmodels.predict.form import Form, Steps, without_advice
from seqmodels.tasks.real.columns import placed
from seqmodels.tasks.real.csv_files import GAPS, SEPARATORS
from seqmodels.untrusted.reading import printable

LONGEST = 2**20
"""The most bytes of a line."""
SEQUENCES = 10_000
"""How many sequences are kept open, the latest ones, while lines of others come in between."""


class Stream:
    """The answers of a model to rows that come one at a time, of one sequence or of several."""

    def __init__(self, model: SequenceModel, form: Form) -> None:
        self.model, self.form = model, form
        self.decimal = form.decimal
        """The decimal mark of numbers that come as text; "any": a comma or a point."""
        self.sequence = 1
        self.open: dict[str, Steps] = {}
        form.steps(model, "1")  # which refuses a model that needs whole sequences

    def begin(self) -> None:
        """Begin a new sequence."""
        self.sequence += len(self.open) > 0
        self.open = {}

    def step(self, row: Mapping[Any, Any], place: str = "row", number: int = 1) -> pd.DataFrame | None:
        """The answers after one more row, values by the names of their columns; None if there are none yet.

        Rows with an id belong to the sequence of this id, all others to one that lasts until `begin` is called.

        Raises:
            ValueError: a column is missing, or a value is not a number. The message mentions the place and its number.
        """
        check_columns(row, self.form)
        id = str(row.get(self.form.reader.id, self.sequence))
        steps = self.open.pop(id, None) or self.form.steps(self.model, id)
        self.open[id] = steps  # as the latest
        if len(self.open) > SEQUENCES:
            self.open.pop(next(iter(self.open)))
        values = {name: [np.nan if value in GAPS else value] for name, value in row.items()}
        table = pd.DataFrame(values, columns=list(row))
        table.attrs["decimal"] = self.decimal
        return steps.step(placed(table, place, number))


def answers_to_lines(lines: IO[bytes], stream: Stream) -> Iterator[pd.DataFrame]:
    """The answers to lines of CSV with a header, each as soon as it is known. A blank line begins a new sequence.

    Raises:
        UserError: a line is not as expected; the message says which.
    """
    header: list[str] | None = None
    separator = ","
    for number, line in enumerate(iter(lambda: lines.readline(LONGEST + 1), b""), start=1):
        try:
            text = decoded(line, first=number == 1)
            if header is None:
                separator = separator_of(text, stream.form)
                header = header_of(text, separator, stream.form)
                stream.decimal = stream.decimal or ("." if separator == "," else "any")
            elif not text.strip():
                stream.begin()
            elif (answers := stream.step(row_of(text, separator, header), "line", number)) is not None:
                yield answers
        except ValueError as error:
            raise UserError(
                f"line {number} of standard input: {printable(of_one_row(without_advice(str(error))))}"
            ) from error
    if header is None:
        raise UserError("standard input should be lines of CSV with a header, and is empty")


def of_one_row(message: str) -> str:
    """A message about a table, without what it says about the places of rows, and about other rows."""
    return re.split(r" in line \d+$| \(\d+ such rows", message)[0]


def decoded(line: bytes, first: bool) -> str:
    """A line as text, without its end."""
    if len(line) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} bytes")
    try:
        return line.decode("utf-8-sig" if first else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason}") from error


def separator_of(header: str, form: Form) -> str:
    """The separator of a header: the given one, or any other that yields all columns."""
    candidates = [*([form.separator] if form.separator else []), *SEPARATORS]
    return next(
        (mark for mark in candidates if set(form.columns) <= set(fields_of(header, mark))),
        max(candidates, key=lambda mark: len(fields_of(header, mark))),
    )


def header_of(line: str, separator: str, form: Form) -> list[str]:
    names = fields_of(line, separator)
    if len(set(names)) < len(names):
        raise ValueError(f"the names of columns should differ, got {line!r}")
    check_columns(names, form)
    return names


def check_columns(names: Sequence[str] | Mapping[str, Any], form: Form) -> None:
    """Refuse rows that lack a column."""
    for name in form.columns:
        if name not in names:
            known = ", ".join(list(names)[:20]) or "an empty line"
            raise ValueError(f"there should be a column {name!r}, got {known}{nearest(name, names)}")


def row_of(line: str, separator: str, header: Sequence[str]) -> dict[str, str]:
    fields = fields_of(line, separator)
    if len(fields) != len(header):
        raise ValueError(f"it should have {len(header)} fields, as the header has, got {len(fields)}")
    return dict(zip(header, fields, strict=True))


def fields_of(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error as error:
        raise ValueError(str(error)) from error
