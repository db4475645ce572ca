"""Rows of a table that follow one another in time, in one series or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from seqmodels.tasks.real.columns import numbers, place
from seqmodels.tasks.real.times import check_order, read_times


@dataclass
class Rows:
    """The rows of a file, those of a series one after the other."""

    values: np.ndarray
    """(rows, columns) in double precision; NaN where a value is missing, unless it is filled forward."""
    missing: np.ndarray
    """(rows, columns): whether the file lacks the value."""
    series: np.ndarray
    """(rows,): the number of the series of each row."""
    starts: np.ndarray
    """The first row of each series, and the number of all rows."""
    names: list[str] | None
    """The names of the series, where a column tells them apart."""
    times: np.ndarray | None
    """(rows,): dates or numbers."""

    @cached_property
    def carried(self) -> np.ndarray:
        """The values, where missing the last ones of the same series."""
        if not np.isnan(self.values).any():
            return self.values
        return pd.DataFrame(self.values).groupby(self.series).ffill().to_numpy()

    def kept(self, keep: np.ndarray) -> "Rows":
        """Some of the rows, by a mask. A series without any is gone."""
        left, series = np.unique(self.series[keep], return_inverse=True)
        names = None if self.names is None else [self.names[number] for number in left]
        times = None if self.times is None else self.times[keep]
        return Rows(self.values[keep], self.missing[keep], series, starts_of(series), names, times)


def starts_of(series: np.ndarray) -> np.ndarray:
    """Where in the numbers of series, (rows,), a series begins; and the number of rows."""
    return np.concatenate([[0], np.flatnonzero(np.diff(series)) + 1, [len(series)]])


def rows_of(
    table: pd.DataFrame,
    columns: Sequence[str],
    time: str | None,
    id: str | None,
    missing: str,
    day_first: bool | None = None,
) -> Rows:
    """The rows of a table, with these columns of numbers. Arguments: see `Table`.

    Raises:
        ValueError: a column holds text, gaps that are not allowed, or an order that is not.
    """
    if not len(table):
        raise ValueError("path should be a table with rows, and there is none below the header")
    series, names, table = series_of(table, id, time is not None)
    times = None
    if time is not None:
        times = read_times(table, time, day_first)
        check_order(table, time, times, series)
    try:
        values = np.stack([numbers(table, name, gaps=missing != "refuse") for name in columns], axis=1)
    except ValueError as error:
        hint = "; task.missing=mask or forward allows gaps" if "found a gap" in str(error) else ""
        raise ValueError(f"{error}{hint}") from error
    rows = Rows(values, np.isnan(values), series, starts_of(series), names, times)
    if missing == "forward":
        rows.values = rows.carried
        for row, column in np.argwhere(np.isnan(rows.values))[:1]:
            raise ValueError(
                f"column {columns[column]!r} should begin with a number in each series for missing='forward', "
                f"found a gap in {place(table, row)}"
            )
    return rows


def series_of(table: pd.DataFrame, id: str | None, sorts: bool) -> tuple[np.ndarray, list[str] | None, pd.DataFrame]:
    """The number of the series of each row, their names, and the table with the rows of each series together.

    Raises:
        ValueError: a row belongs to no series, or, unless it `sorts`, rows of a series lie apart.
    """
    if id is None:
        return np.zeros(len(table), dtype=np.int64), None, table
    series, found = pd.factorize(table[id])
    if (series < 0).any():
        raise ValueError(f"id={id!r} should name a series in every row, found a gap in {place(table, series.argmin())}")
    names = [str(name) for name in found]
    apart = np.flatnonzero(np.diff(series) < 0)
    if len(apart) and not sorts:
        row = apart[0] + 1
        raise ValueError(
            f"id={id!r} should hold the rows of a series together, and {names[series[row]]!r} goes on in "
            f"{place(table, row)}, after another series; sort the file, or name its column of times, task.time"
        )
    if len(apart):
        order = np.argsort(series, kind="stable")
        series, table = series[order], table.iloc[order]
    return series, names, table


def covered(firsts: np.ndarray, length: int, rows: int) -> np.ndarray:
    """Which of the rows (a mask) lie in one of the pieces of this length that begin at `firsts`."""
    changes = np.zeros(rows + 1, dtype=np.int64)
    np.add.at(changes, firsts, 1)
    np.add.at(changes, firsts + length, -1)
    return changes[:-1].cumsum() > 0
