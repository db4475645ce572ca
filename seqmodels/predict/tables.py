"""Forecasts of the columns of a table."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seqmodels.model import SequenceModel
from seqmodels.predict.answers import answers_to
from seqmodels.predict.facts import TableFacts
from seqmodels.predict.form import Examples, Form, Steps
from seqmodels.tasks.real.rows import Rows
from seqmodels.tasks.real.table_reader import TableReader
from seqmodels.tasks.real.tables import numbers, place, read_table
from seqmodels.tasks.real.times import CALENDAR, check_order, read_times


class TableForm(Form):
    """The form of the files of `Table`.

    A table of answers has the columns `id` of the series, if a column tells them apart; `after`, the last row that was
    read, by its time, or else by its number in the series, from 1; `step`, how many rows after it the forecast is; and
    for each target `target_` with its name, in the test, and `answer_`, or `answer_..._0.1` for each quantile.

    Where columns are known in advance, the rows to forecast have to be in the file, and the last ones may hold
    nothing else.
    """

    name = "table"
    facts = TableFacts

    def __init__(
        self,
        quantiles: Sequence[float] | None = None,
        separator: str | None = None,
        decimal: str | None = None,
        **arguments: Any,
    ) -> None:
        self.reader = TableReader(**arguments)
        self.quantiles, self.separator, self.decimal = quantiles, separator, decimal

    @property
    def measured(self) -> list[str]:
        """The columns that a window reads."""
        reader = self.reader
        return list(dict.fromkeys([*reader.inputs, *(reader.targets if reader.difference else [])]))

    @property
    def columns(self) -> list[str]:
        named = [name for name in (self.reader.time, self.reader.id) if name is not None]
        return [*self.measured, *(name for name in self.reader.known if name not in CALENDAR), *named]

    def read(self, path: str | Path) -> "Forecasts":
        reader = self.reader
        asked = {"inputs": self.measured, "known": [name for name in reader.known if name not in CALENDAR]}
        asked |= {argument: [name] for argument, name in (("time", reader.time), ("id", reader.id)) if name is not None}
        return self.forecasts(read_table(path, asked, self.separator, self.decimal)[0])

    def forecasts(self, table: pd.DataFrame) -> "Forecasts":
        """All windows of a table, also those after which it ends."""
        reader = self.reader
        begun = until_last(table, self.measured, reader.id) if reader.known else table
        for name in self.measured:
            numbers(begun, name, gaps=reader.missing != "refuse")
            if reader.missing == "forward":
                check_begun(begun, name, reader.id)
        table = table.assign(**{name: np.nan for name in reader.targets if name not in table})
        rows = replace(reader, missing="mask", difference=False).rows_of(table)
        if reader.missing == "forward":
            rows.values = rows.carried
        return Forecasts(self, rows, self.firsts(rows))

    def firsts(self, rows: Rows) -> np.ndarray:
        """The first rows of all windows."""
        reader = self.reader
        blank = np.asarray(rows.missing[:, reader.positions(self.measured)].all(axis=1))
        ahead = reader.horizon if reader.known else 0
        found = [np.zeros(0, dtype=np.int64)]
        for start, end in zip(rows.starts[:-1], rows.starts[1:], strict=True):
            given = np.flatnonzero(~blank[start:end]) if ahead and self.measured else [end - start - 1]
            measured = start + given[-1] + 1 if len(given) else start
            found.append(np.arange(start + reader.difference, min(measured, end - ahead) - reader.window + 1))
        return np.concatenate(found)

    def test_of(self, task: Any) -> "Forecasts":
        return Forecasts(self, task.rows, task.firsts["test"], targets=True)

    def steps(self, model: SequenceModel, id: str) -> "TableSteps":
        return TableSteps(self, model)


def check_begun(table: pd.DataFrame, column: str, id: str | None) -> None:
    """Refuse a series that begins with a gap: there is no value before it."""
    begins = np.arange(len(table)) == 0 if id is None else ~table[id].duplicated().to_numpy()
    faults = np.flatnonzero(begins & table[column].isna().to_numpy())
    if len(faults):
        raise ValueError(
            f"column {column!r} should begin with a number in each series, as the run fills gaps forward, found a gap "
            f"in {place(table, faults[0])}"
        )


def until_last(table: pd.DataFrame, columns: list[str], id: str | None) -> pd.DataFrame:
    """The rows of each series up to the last one that has a value in one of the columns."""
    series = np.zeros(len(table)) if id is None else table[id].to_numpy()
    given = table[columns].notna().any(axis=1)
    return table[given[::-1].groupby(series[::-1]).cummax()[::-1].astype(bool)]


class Forecasts(Examples):
    """Windows of rows and, in the test, the values after them."""

    def __init__(self, form: TableForm, rows: Rows, firsts: np.ndarray, targets: bool = False) -> None:
        self.form, self.rows, self.firsts, self.targets = form, rows, firsts, targets
        self.windows = form.reader.windows(rows)
        answered = set(rows.series[firsts].tolist())
        self.left_out = [name for number, name in enumerate(rows.names or []) if number not in answered]

    def __len__(self) -> int:
        return len(self.firsts)

    def inputs(self, part: slice) -> Sequence[Tensor]:
        return self.windows.inputs(torch.from_numpy(self.firsts[part])).unbind()

    def table(self, part: slice, outputs: Sequence[Tensor]) -> pd.DataFrame:
        reader, rows, firsts = self.form.reader, self.rows, self.firsts[part]
        quantiles = self.form.quantiles
        last = firsts + reader.window - 1
        columns: dict[str, Any] = {}
        if rows.names is not None:
            columns["id"] = np.array(rows.names, dtype=object)[rows.series[last]]
        columns["after"] = self.after(last)
        table = pd.DataFrame({name: np.repeat(values, reader.horizon) for name, values in columns.items()})
        table["step"] = np.tile(np.arange(1, reader.horizon + 1), len(firsts))
        decoded = reader.decode(torch.stack(list(outputs)), rows, firsts)
        answers = decoded.reshape(len(table), len(reader.targets), -1).numpy()
        measured = reader.measured(rows, firsts).reshape(len(table), -1) if self.targets else None
        for number, name in enumerate(reader.targets):
            if measured is not None:
                table[f"target_{name}"] = measured[:, number]
            for position, ending in enumerate(
                [""] if quantiles is None else [f"_{quantile}" for quantile in quantiles]
            ):
                table[f"answer_{name}{ending}"] = answers[:, number, position]
        return table

    def after(self, rows: np.ndarray) -> list[Any]:
        """The times of rows, or their numbers in the series."""
        times = self.rows.times
        if times is None:
            return (rows - self.rows.starts[self.rows.series[rows]] + 1).tolist()
        if np.issubdtype(times.dtype, np.datetime64):
            return [time.isoformat() for time in pd.DatetimeIndex(times[rows])]
        return times[rows].tolist()


class TableSteps(Steps):
    """Keeps as many of the last rows as a window needs."""

    def __init__(self, form: TableForm, model: SequenceModel) -> None:
        self.form, self.model = form, model
        self.needed = form.reader.lead + (form.reader.horizon if form.reader.known else 0)
        self.rows: list[pd.DataFrame] = []
        self.last: dict[str, float] = {}
        """The last value of each column before these rows."""
        self.count = 0

    def step(self, row: pd.DataFrame) -> pd.DataFrame | None:
        form, reader = self.form, self.form.reader
        allowed = reader.missing != "refuse" or bool(reader.known)
        values = {name: numbers(row, name, allowed) for name in row if name in reader.columns and name in form.columns}
        row = row[form.columns].assign(**values)
        if reader.missing == "forward" and not self.count:
            for name in form.measured:
                check_begun(row, name, None)
        self.check_time(row)
        for left in [*self.rows, row][: -self.needed]:
            self.last |= left[form.measured].iloc[0].dropna()
        self.rows = [*self.rows, row][-self.needed :]
        self.count += 1
        if len(self.rows) < self.needed:
            return None
        rows = pd.concat(self.rows).rename_axis(str(row.index.name))
        if reader.missing == "forward":
            rows = pd.concat([rows.iloc[:1].fillna(self.last), rows.iloc[1:]]).rename_axis(str(row.index.name))
        forecasts = form.forecasts(rows)
        if not len(forecasts):
            return None
        table = forecasts.table(slice(1), answers_to(self.model, forecasts.inputs(slice(1))))
        if reader.time is None:
            table["after"] += self.count - self.needed
        return table

    def check_time(self, row: pd.DataFrame) -> None:
        """Refuse a time that is none, or does not come after that of the row before."""
        if (column := self.form.reader.time) is not None:
            two = pd.concat([*self.rows[-1:], row]).rename_axis(str(row.index.name))
            times = read_times(two, column, self.form.reader.day_first)
            check_order(two, column, times, np.zeros(len(two), dtype=np.int64))
