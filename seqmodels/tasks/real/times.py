"""The times of rows, dates or numbers, and where dates lie in the day, the week, the month and the year."""

import re
import warnings
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.tasks.real.columns import numbers, place

CALENDAR = ["hour", "weekday", "monthday", "yearday"]


def read_times(table: pd.DataFrame, column: str, day_first: bool | None = None) -> np.ndarray:
    """A column of dates as UTC (datetime64), or of numbers, such as years, as float64.

    Args:
        table: it has this column.
        column: its name.
        day_first: how dates such as 05/02/2024 are meant; see `begins_with_day`.

    Raises:
        ValueError: there is something else in the column, or days cannot be told from months.
    """
    found = table[column]
    dated = pd.api.types.is_datetime64_any_dtype(found)
    if not dated and pd.to_numeric(found, errors="coerce").notna().all():  # a stream brings numbers as text
        return numbers(table, column)
    numeric = pd.api.types.is_numeric_dtype(found)  # with gaps
    times = found if numeric else dates_in(found, f"time={column!r}", day_first)
    faults = np.flatnonzero(times.isna())
    if len(faults):
        value = found.iloc[faults[0]]
        fault = "a gap" if pd.isna(value) else repr(str(value))
        raise ValueError(
            f"time={column!r} should hold a date or a number in every row, found {fault} in {place(table, faults[0])}"
        )
    return times.dt.tz_localize(None).to_numpy()


def dates_in(texts: pd.Series, argument: str, day_first: bool | None) -> pd.Series:
    """Dates in UTC; NaT where there is none.

    Raises:
        ValueError: days cannot be told from months; the message mentions the argument.
    """
    texts = texts.reset_index(drop=True)  # rows of a stream may all have one number
    dates = parsed(texts, format="ISO8601")
    others = texts[dates.isna()].dropna().astype(str)
    if len(others):
        if day_first is None:
            day_first = begins_with_day(others, argument)
        others = others.map(lambda text: year_first(text, bool(day_first)))
        others = others[others.map(is_clear)]
        dates[others.index] = parsed(others, format="ISO8601")
        others = others[dates[others.index].isna()]
        dates[others.index] = parsed(others)
    return dates


def parsed(texts: pd.Series, **options: Any) -> pd.Series:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that pandas does not recognize a format
        return pd.to_datetime(texts, errors="coerce", utc=True, **options).dt.as_unit("us")


DAY_AND_MONTH = re.compile(r"\s*(\d{1,2})\s*([./-])\s*(\d{1,2})\s*\2\s*(\d{4}|\d\d)(?!\d)")
YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")
YEAR_FIRST = re.compile(r"\s*\d{4}([./-])\d{1,2}\1\d{1,2}(?!\d)")
NAME_OF_MONTH = re.compile(r"(?<![a-z])(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)", re.IGNORECASE)


def is_clear(text: str) -> bool:
    """Whether a date cannot be mistaken for another one: it begins with its year, or has its year and names its month.

    In other texts pandas takes the month to come before the day, and adds the year of today.
    """
    return bool(YEAR_FIRST.match(text) or (NAME_OF_MONTH.search(text) and YEAR.search(text)))


def year_first(text: str, day_first: bool) -> str:
    """A date such as 5/2/2024, or 5.2.24, as 2024-02-05; any other text as it is.

    Years of two digits are those from 1969 on.
    """
    found = DAY_AND_MONTH.match(text)
    if found is None:
        return text
    month, day = found.group(3, 1) if day_first else found.group(1, 3)
    century = "" if len(found[4]) == 4 else "19" if found[4] >= "69" else "20"
    return f"{century}{found[4]}-{month:0>2}-{day:0>2}{text[found.end() :]}"


def begins_with_day(texts: pd.Series, argument: str) -> bool | None:
    """Whether dates such as 13/02/2024 begin with the day: they do if one of them begins with more than 12, or if all
    have points. None if there are no such dates, or only those like 02/02/2024.

    Raises:
        ValueError: they would be dates either way, or have years of two digits, so that 24/02/05 may begin with the
            year; the message mentions the argument.
    """
    if pd.api.types.is_datetime64_any_dtype(texts) or pd.api.types.is_numeric_dtype(texts):
        return None
    found = [match for text in texts.dropna().astype(str) if (match := DAY_AND_MONTH.match(text))]
    for match in found:
        if len(match[4]) == 2:
            raise ValueError(f"{argument} should have years of four digits, got {match[0].strip()!r}")
    if any(int(match[1]) > 12 for match in found):
        return True
    if any(int(match[3]) > 12 for match in found):
        return False
    unclear = next((match[0].strip() for match in found if int(match[1]) != int(match[3])), None)
    if unclear is None:
        return None
    if all(match[2] == "." for match in found):
        return True
    raise ValueError(
        f"{argument} should tell days from months, and {unclear!r} could be {year_first(unclear, False)} or "
        f"{year_first(unclear, True)}: write dates as 2024-02-13"
    )


def check_order(table: pd.DataFrame, column: str, times: np.ndarray, series: np.ndarray) -> None:
    """Refuse times that stay or run backwards from one row to the next of the same series, with a ValueError."""
    faults = np.flatnonzero((series[1:] == series[:-1]) & ~(times[1:] > times[:-1]))
    if len(faults):
        row = faults[0] + 1
        fault = "comes twice" if times[row] == times[row - 1] else f"follows {as_text(times[row - 1])}"
        hint = "" if series.any() else "; if there are several series, set task.id, the column that tells them apart"
        raise ValueError(
            f"time={column!r} should increase from row to row of a series, and {as_text(times[row])} {fault} "
            f"in {place(table, row)}{hint}"
        )


def time_like(times: np.ndarray, argument: str, value: object, day_first: bool | None = None) -> np.generic:
    """A setting, such as "2014-06-01" or 1921, as a time of the same kind as others.

    Raises:
        ValueError: it is not of that kind, or days cannot be told from months.
    """
    dates = np.issubdtype(times.dtype, np.datetime64)
    if dates and isinstance(value, str):
        moment = dates_in(pd.Series([value]), argument, day_first).iloc[0]
        if not pd.isna(moment):
            return times.dtype.type(moment.tz_convert(None).to_datetime64())
    if not dates and isinstance(value, int | float) and not isinstance(value, bool):
        return np.float64(value)
    kind = ("a" if argument == "until" else "a fraction, or a") + (" date" if dates else " number")
    raise ValueError(f"{argument} should be {kind} as in the column of times, got {value!r}")


def calendar(times: np.ndarray, name: str) -> np.ndarray:
    """Sine and cosine (rows, 2) of where dates lie in the day, the week, the month or the year."""
    dates = pd.DatetimeIndex(times)
    match name:
        case "hour":
            turns = (dates - dates.normalize()) / pd.Timedelta(days=1)
        case "weekday":
            turns = dates.day_of_week / 7
        case "monthday":
            turns = (dates.day - 1) / dates.days_in_month
        case _:
            turns = (dates.day_of_year - 1) / 365.25
    angles = 2 * np.pi * np.asarray(turns, dtype=float)
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def as_text(time: np.generic) -> str:
    """A time as in a file: without midnight, and without the point of a whole number."""
    if isinstance(time, np.datetime64):
        return str(pd.Timestamp(time)).removesuffix(" 00:00:00")
    return f"{float(time):g}" if abs(float(time)) < 1e15 else str(time)
