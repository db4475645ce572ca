"""The times of rows: dates, which are read in one way or refused, and numbers."""

import re

import numpy as np
import pandas as pd
import pytest

from seqmodels.tasks.real.table_report import duration
from seqmodels.tasks.real.times import calendar, read_times


@pytest.mark.parametrize(
    ("texts", "times"),
    [
        (["05.02.2024", "06.02.2024"], ["2024-02-05", "2024-02-06"]),  # with points the day comes first
        (["2024-02-05", "2024-02-05 13:30"], ["2024-02-05", "2024-02-05T13:30"]),
        (["2024-02-05 01:00+02:00", "2024-02-05 02:00Z"], ["2024-02-04T23", "2024-02-05T02"]),
        (["12/02/2024 01:00", "13/2/2024"], ["2024-02-12T01", "2024-02-13"]),
        (["02/12/2024 1:00 PM", "02/13/2024 01:00 PM"], ["2024-02-12T13", "2024-02-13T13"]),
        (["1. 2. 2024", "1. 3. 2024"], ["2024-02-01", "2024-03-01"]),
        (["13/02/2024 00:00:00.500", "14/02/2024"], ["2024-02-13T00:00:00.500", "2024-02-14"]),
        (pd.date_range("2024-02-05", periods=2, freq="h", tz="Europe/Berlin"), ["2024-02-04T23", "2024-02-05T00"]),
        (pd.date_range("2024-02-05", periods=1), ["2024-02-05"]),
        (["02/02/2024"], ["2024-02-02"]),
        (["5 Feb 2024", "11 Feb 2024"], ["2024-02-05", "2024-02-11"]),
        (["1711", "1712"], [1711.0, 1712.0]),
    ],
)
def test_times(texts, times):
    column = pd.DataFrame({"time": pd.Series(texts, dtype=object) if isinstance(texts, list) else texts})
    expected = np.array(times if isinstance(times[0], float) else [np.datetime64(time, "ms") for time in times])
    assert (read_times(column, "time") == expected).all()


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        (["13/02/2024", "02/13/2024"], "found '02/13/2024' in row 1"),
        (["2024-02-05", "2024-13-05"], "found '2024-13-05' in row 1"),
        (["12:30", "13:30"], "found '12:30' in row 0"),  # pandas would take them to be times of today
        (["24-02-05"], "time='time' should have years of four digits, got '24-02-05'"),
        (["24/02/13"], "time='time' should have years of four digits, got '24/02/13'"),
        (["05 02 2024"], "found '05 02 2024' in row 0"),
        (["12:00 05/02/2024"], "found '12:00 05/02/2024' in row 0"),
        (["Mon, 05.02.2024"], "found 'Mon, 05.02.2024' in row 0"),
        (pd.to_timedelta([1, 2], unit="h"), "column 'time' should hold numbers, and holds durations"),
        (np.array([np.nan, np.nan]), "found a gap in row 0"),
        (["05/02/2024", "06/02/2024"], "'05/02/2024' could be 2024-05-02 or 2024-02-05: write dates as 2024-02-13"),
    ],
)
def test_texts_that_are_no_times(texts, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        read_times(pd.DataFrame({"time": pd.Series(texts, dtype=object) if isinstance(texts, list) else texts}), "time")


def test_years_of_two_digits_are_read_where_the_order_is_said():
    column = pd.DataFrame({"time": ["5.2.24", "31.12.98"]})
    assert (read_times(column, "time", day_first=True) == np.array(["2024-02-05", "1998-12-31"], "datetime64[D]")).all()


def test_calendars():
    times = pd.to_datetime(["2021-01-01 00:00", "2021-07-02 06:00", "2021-01-04 12:00"]).to_numpy()
    np.testing.assert_allclose(calendar(times, "hour"), [[0, 1], [1, 0], [0, -1]], atol=1e-12)
    np.testing.assert_allclose(calendar(times, "weekday")[2], [0, 1])
    np.testing.assert_allclose(calendar(times, "monthday")[0], [0, 1])
    np.testing.assert_allclose(calendar(times, "yearday")[:2], [[0, 1], [0, -1]], atol=0.02)


@pytest.mark.parametrize(
    ("step", "text"),
    [("7D", "7 days"), ("1D", "1 day"), ("6h", "6 hours"), ("90min", "90 minutes"), ("250ms", "0.25 seconds")],
)
def test_the_usual_step_is_in_its_largest_unit(step, text):
    assert duration(pd.Timedelta(step)) == text
