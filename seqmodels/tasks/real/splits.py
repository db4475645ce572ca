"""Splits of windows into training, validation and test, by time or by series. No target is in two of them."""

from typing import Any

import numpy as np

from seqmodels.tasks.real.rows import Rows
from seqmodels.tasks.real.table_reader import TableReader
from seqmodels.tasks.real.times import time_like
from seqmodels.tasks.task import Split

Border = float | int | str


def split_windows(
    rows: Rows, reader: TableReader, split: str, val_from: Border, test_from: Border
) -> tuple[dict[Split, np.ndarray], dict[str, int]]:
    """The first rows of the windows of each split, and how many windows are left out, by the reason.

    Raises:
        ValueError: a split would be empty, or a target have no value in it.
    """
    window, horizon = reader.window, reader.horizon
    firsts = first_rows(rows, window, horizon, reader.difference)
    if split == "time":
        parts = split_by_time(rows, firsts, reader, val_from, test_from)
    else:
        parts = split_by_series(rows, firsts, val_from, test_from)
    left_out = {"targets on both sides of a border": len(firsts) - sum(map(len, parts.values()))}
    left_out["no target measured"] = 0
    for name, part in parts.items():
        if not len(part):
            raise ValueError(
                f"val_from={val_from!r} and test_from={test_from!r} should leave windows to train, validate and test "
                f"on, and leave none for {name} of {len(firsts)} windows in {len(rows.values)} rows "
                f"(window={window}, horizon={horizon})"
            )
        if rows.missing.any():
            measured = ~np.isnan(reader.measured(rows, part))
            for target, found in zip(reader.targets, measured.any((0, 1)), strict=True):
                if not found:
                    raise ValueError(f"targets should be measured in each split, and {target!r} never is in {name}")
            parts[name] = part[measured.any((1, 2))]
            left_out["no target measured"] += len(part) - len(parts[name])
    return parts, left_out


def first_rows(rows: Rows, window: int, horizon: int, difference: bool) -> np.ndarray:
    """The first rows of all windows, each of which lies in one series, as do the rows to forecast after it.

    Raises:
        ValueError: a series is too short for one.
    """
    needed = window + horizon + difference
    lengths = np.diff(rows.starts)
    if not len(rows.values):
        raise ValueError("until leaves no row")
    short = np.flatnonzero(lengths < needed)
    if len(short):
        which = "the table" if rows.names is None else f"series {rows.names[short[0]]!r}"
        raise ValueError(
            f"window={window} with horizon={horizon} needs {needed} rows, and {which} has {lengths[short[0]]}"
            + (f" ({len(short)} such series of {len(lengths)})" if rows.names is not None else "")
        )
    lasts = rows.starts[1:] - window - horizon + 1
    return np.concatenate([np.arange(*ends) for ends in zip(rows.starts[:-1] + difference, lasts, strict=True)])


def split_by_time(
    rows: Rows, firsts: np.ndarray, reader: TableReader, val_from: Border, test_from: Border
) -> dict[Split, np.ndarray]:
    """The first rows of the windows of each split; those whose targets are on both sides of a border are left out.

    A border is the time of the first target of a split, or a fraction of all windows: of all series together, which are
    then split at the same time. Without times, each series is split at this fraction of its own windows.

    Raises:
        ValueError: a border is neither a fraction nor a time, or they are in the wrong order.
    """
    window, horizon = reader.window, reader.horizon
    if rows.times is None:
        series = rows.series[firsts]
        counts = np.bincount(series)
        low = np.arange(len(firsts)) - (np.cumsum(counts) - counts)[series]
        high = low + horizon - 1
    else:
        low, high = rows.times[firsts + window], rows.times[firsts + window + horizon - 1]
        ordered = np.sort(low)

    def cut(argument: str, border: Border) -> Any:
        share = as_fraction(border)
        if rows.times is None:
            if share is None:
                raise ValueError(f"{argument} should be a fraction between 0 and 1 without task.time, got {border!r}")
            return floor(counts * share)[series]
        if share is None:
            return time_like(rows.times, argument, border, reader.day_first)
        return ordered[floor(len(ordered) * share)]

    val_cut, test_cut = cut("val_from", val_from), cut("test_from", test_from)
    if np.any(val_cut > test_cut):
        raise ValueError(f"val_from should be before test_from, got {val_from!r} and {test_from!r}")
    return {
        "train": firsts[high < val_cut],
        "val": firsts[(low >= val_cut) & (high < test_cut)],
        "test": firsts[low >= test_cut],
    }


def split_by_series(rows: Rows, firsts: np.ndarray, val_from: Border, test_from: Border) -> dict[Split, np.ndarray]:
    """The first rows of the windows of each split. The series are divided at random, the same way for every run.

    Raises:
        ValueError: there are fewer than three series, or a border is no fraction.
    """
    count = len(rows.starts) - 1
    val_share, test_share = as_fraction(val_from), as_fraction(test_from)
    if count < 3:
        raise ValueError(f"split='id' needs three series or more, got {count}; task.id names the column of series")
    if val_share is None or test_share is None or val_share > test_share:
        raise ValueError(
            f"val_from and test_from should be ascending fractions for split='id', got {val_from} and {test_from}"
        )
    val_cut = min(max(1, int(floor(count * val_share))), count - 2)
    test_cut = min(max(val_cut + 1, int(floor(count * test_share))), count - 1)
    place = np.random.default_rng(0).permutation(count)[rows.series[firsts]]
    return {
        "train": firsts[place < val_cut],
        "val": firsts[(place >= val_cut) & (place < test_cut)],
        "test": firsts[place >= test_cut],
    }


def as_fraction(border: Border) -> float | None:
    """A border as a fraction of the data; None if it is a time."""
    is_number = isinstance(border, int | float) and not isinstance(border, bool)
    return float(border) if is_number and 0 < float(border) < 1 else None


def floor(number: float | np.ndarray) -> np.ndarray:
    """Rounded down; a share of 0.7 is a little less in binary."""
    return np.floor(np.asarray(number) + 1e-9).astype(np.int64)
