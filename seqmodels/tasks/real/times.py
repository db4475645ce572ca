"""The times of rows, dates or numbers, and where dates lie in the day, the week, the month and the year."""

import warnings

import numpy as np
import pandas as pd

from seqmodels.tasks.real.columns import numbers, place

CALENDAR = ["hour", "weekday", "monthday", "yearday"]


def read_times(table: pd.DataFrame, column: str) -> np.ndarray:
    """A column of dates as UTC (datetime64), or of numbers, such as years, as float64.

    Raises:
        ValueError: there is something else in the column, or one cannot tell days from months.
    """
    found = table[column]
    if pd.api.types.is_numeric_dtype(found):
        return numbers(table, column)
    if (typed := pd.to_numeric(found, errors="coerce")).notna().all():  # numbers that a stream brings as text
        return typed.to_numpy(np.float64)
    times = dates_in(found, column)
    faults = np.flatnonzero(times.isna())
    if len(faults):
        value = found.iloc[faults[0]]
        fault = "a gap" if pd.isna(value) else repr(str(value))
        raise ValueError(
            f"time={column!r} should hold a date or a number in every row, found {fault} in {place(table, faults[0])}"
        )
    return times.dt.tz_localize(None).to_numpy()


def dates_in(texts: pd.Series, column: str) -> pd.Series:
    """Dates in UTC; NaT where there is none. With points the day stands first, and with slashes or dashes it may.

    Raises:
        ValueError: all are dates either way, and not the same ones: a part of a table must not be read in another way
            than the whole.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which format pandas takes the dates to have
        month_first, day_first = (
            pd.to_datetime(texts, errors="coerce", utc=True, dayfirst=first) for first in (False, True)
        )
    if texts.astype(str).str.match(r"\s*\d{4}\b").all():  # the year stands first, and the month second
        return month_first
    with_points = texts.astype(str).str.match(r"\d{1,2}\.\d{1,2}\.\d").any()
    if with_points or (month_first.isna().any() and day_first.notna().all()):
        return day_first
    unclear = np.flatnonzero((month_first != day_first) & month_first.notna())
    if len(unclear) and day_first.notna().all():
        raise ValueError(
            f"time={column!r} should tell days from months, and {str(texts.iloc[unclear[0]])!r} could be "
            f"{as_text(month_first.iloc[unclear[0]].tz_localize(None).to_datetime64())} or "
            f"{as_text(day_first.iloc[unclear[0]].tz_localize(None).to_datetime64())}: write dates as 2024-02-01"
        )
    return month_first


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


def time_like(times: np.ndarray, argument: str, value: object) -> np.generic:
    """A setting, such as "2014-06-01" or 1921, as a time of the same kind as others.

    Raises:
        ValueError: it is not of that kind.
    """
    dates = np.issubdtype(times.dtype, np.datetime64)
    try:
        if dates and isinstance(value, str):
            moment = dates_in(pd.Series([value]), argument).iloc[0]
            if not pd.isna(moment):
                return times.dtype.type(moment.tz_convert(None).to_datetime64())
        if not dates and isinstance(value, int | float) and not isinstance(value, bool):
            return np.float64(value)
    except ValueError:
        pass
    kind = "a date" if dates else "a number"
    raise ValueError(f"{argument} should be a fraction, or {kind} as in the column of times, got {value!r}")


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
