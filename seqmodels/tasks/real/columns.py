"""The columns of a table: found by name, and read as numbers, with messages that say where in the file a fault is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.checks import nearest

LARGEST = 1e30
"""Numbers from here on are refused: their squares overflow in single precision."""

Asked = Mapping[str, Sequence[str]]
"""Columns under the names of the arguments that ask for them, which messages mention."""

NAMING = ("id", "label", "group", "split_column")
"""Arguments whose columns name something: 01 and 1 are two names there, and in a CSV file they stay text."""


def naming(columns: Asked | None) -> list[str]:
    """The columns that name something."""
    return [name for argument in NAMING for name in (columns or {}).get(argument, ())]


class MissingColumnError(ValueError):
    """A table lacks a column that an argument asks for."""

    def __init__(self, argument: str, message: str) -> None:
        super().__init__(message)
        self.argument = argument


def numbers(table: pd.DataFrame, column: str, gaps: bool = False) -> np.ndarray:
    """A column as numbers in double precision; with `gaps`, missing values are allowed, and NaN.

    Raises:
        ValueError: the column holds dates, text, a gap or a number that is not finite.
    """
    found = table[column]
    if pd.api.types.is_datetime64_any_dtype(found):
        raise ValueError(f"column {column!r} should hold numbers, and holds dates")
    if pd.api.types.is_timedelta64_dtype(found):
        raise ValueError(f"column {column!r} should hold numbers, and holds durations")
    if pd.api.types.is_numeric_dtype(found):
        values = found.to_numpy(dtype=float, na_value=np.nan)
    else:
        texts = found
        if table.attrs.get("decimal") == ",":
            texts = found.where(~found.str.contains(".", regex=False, na=False)).str.replace(",", ".")
        elif table.attrs.get("decimal") == "any":
            texts = found.str.replace(",", ".")
        values = pd.to_numeric(texts, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    faulty = ~(np.abs(values) < LARGEST)
    if gaps:
        faulty &= found.notna().to_numpy()
    faults = np.flatnonzero(faulty)
    if len(faults):
        value = found.iloc[faults[0]]
        fault = "a gap" if pd.isna(value) else repr(str(value))
        limit = f" below {LARGEST:g}" if LARGEST <= abs(values[faults[0]]) < np.inf else ""
        raise ValueError(
            f"column {column!r} should hold a number{limit} in every row, found {fault} in {place(table, faults[0])} "
            f"({len(faults)} such rows of {len(values)})"
        )
    return values


def place(table: pd.DataFrame, row: Any) -> str:
    """Where in its file a row of a table is, such as "line 7"."""
    return f"{table.index.name or 'row'} {table.index[row]}"


def placed(table: pd.DataFrame, name: str, first: int) -> pd.DataFrame:
    """The table, with the places of its rows in the file as its index."""
    table.index = pd.RangeIndex(first, first + len(table), name=name)
    return table


def check_columns(file: Path, names: Sequence[str], columns: Asked | None) -> list[str]:
    """The columns to keep, once each; refuses those that are not there, and names that occur twice."""
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise ValueError(f"the names of columns should differ, and {file} has several called {twice[0]!r}")
    if columns is None:
        return list(names)
    for argument, asked in columns.items():
        for name in asked:
            if name not in names:
                known = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
                raise MissingColumnError(
                    argument, f"{argument} should be a column of {file} ({known}), got {name!r}{nearest(name, names)}"
                )
    return list(dict.fromkeys(name for asked in columns.values() for name in asked))
