"""Simple forecasts that a model has to beat, and the errors of any forecasts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from seqmodels.tasks.real.rows import Rows
from seqmodels.tasks.real.table_reader import TableReader


def simple_forecasts(
    reader: TableReader, rows: Rows, firsts: np.ndarray, means: np.ndarray, period: int | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The names of simple methods, and their forecasts in the units of the file, in shapes that broadcast to
    (windows, horizon, targets).

    `chance` is always the mean of training, `means` (1 or series, targets). `persistence` repeats the last value;
    `drift`, with `difference`, adds the mean change to it for each step; `seasonal` repeats the values of the last
    period. Where there is no such value yet in the series, `seasonal` repeats the last value, and `persistence` answers
    the mean.
    """
    targets = reader.positions(reader.targets)
    mean = (means[rows.series[firsts]] if len(means) > 1 else means)[:, None]
    yield "chance", mean
    values = rows.carried[:, targets]
    last = firsts + reader.window - 1
    kept = values[last][:, None]
    kept = np.where(np.isnan(kept), mean, kept)
    yield "persistence", kept
    steps = np.arange(1, reader.horizon + 1)
    if reader.difference:
        yield "drift", kept + steps[:, None] * reader.target_scales(rows, firsts)[0]
    if period is not None:
        earlier = last[:, None] + steps - period * -(-steps // period)
        reached = earlier >= rows.starts[rows.series[firsts]][:, None]
        seasonal = values[np.maximum(earlier, 0)]
        yield "seasonal", np.where(reached[..., None] & ~np.isnan(seasonal), seasonal, kept)


@dataclass
class Scores:
    """Root mean squared errors of forecasts."""

    total: float
    """Over all of them, in the units of the metric."""
    by_target: list[float]
    """In the units of the file."""
    by_step: list[float]
    """Of each step ahead, in the units of the metric."""

    @classmethod
    def of(cls, errors: np.ndarray, scales: np.ndarray | None) -> "Scores":
        """Of errors (windows, horizon, targets) in the units of the file, NaN where there is none.

        `scales` are divided by for the metric; None if that is in the units of the file, too.
        """
        counts = sums(~np.isnan(errors))
        squares = sums(errors**2)
        by_target = np.sqrt(squares.sum(0) / counts.sum(0))
        if scales is not None:
            squares = sums((errors / scales) ** 2)
        by_step = np.sqrt(squares.sum(1) / np.maximum(counts.sum(1), 1))
        return cls(float(np.sqrt(squares.sum() / counts.sum())), by_target.tolist(), by_step.tolist())


def sums(numbers: np.ndarray) -> np.ndarray:
    """Over all windows of numbers (windows, horizon, targets), without NaN."""
    # numbers that lie side by side are added with less rounding
    return np.array([[np.nansum(np.ascontiguousarray(part)) for part in step.T] for step in numbers.transpose(1, 0, 2)])
