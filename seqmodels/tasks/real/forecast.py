"""Forecasting: predict the next value of a measured series from the last ones."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric

from seqmodels.checks import check_flag, check_whole, nearest
from seqmodels.tasks.finite import FiniteTask
from seqmodels.tasks.real.tables import find_file
from seqmodels.tasks.task import Split


class Forecast(FiniteTask):
    """Inputs (batch, window, 1): values of one column of a CSV file; target: the next value.

    The first 70 % of the values to be predicted are for training, the next 15 % for validation and the last 15 %
    for the test. A window may reach back into the previous split; a target never does. The network sees values scaled
    with the mean and the standard deviation of training. The test metric is the root mean squared error in the
    units of the file. Chance is the error of always answering the mean of training. The baseline `persistence` repeats
    the last value, and with `difference`, `drift` adds the mean change of training to it. The task counts as solved
    below both.

    Args:
        path: a CSV file with a header line and one row per step, oldest first. A relative path is searched for in
            the working directory, then among the files that come with the package ("data/co2.csv").
        target: the column to forecast.
        window: the number of values in an input.
        difference: read and predict changes from one value to the next rather than values, as a series with a trend
            needs: its later values lie outside the range of training.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not CSV, lacks the column, has gaps or text in it, or is too short.
    """

    input_size = 1
    output_size = 1
    chronological = True
    metric_name = "rmse"

    def __init__(self, path: str, target: str, window: int = 24, difference: bool = False) -> None:
        check_whole("window", window, 1)
        check_flag("difference", difference)
        series = read_column(path, target)
        read_values = window + difference  # values before the one to predict
        examples = len(series) - read_values
        ends: dict[Split, int] = {"train": examples * 70 // 100, "val": examples * 85 // 100, "test": examples}
        if ends["train"] < 2 or len(set(ends.values())) < 3:
            raise ValueError(
                f"window={window} should leave values to train, validate and test on: "
                f"{path} has {len(series)} values, {read_values + 7} are needed"
            )
        training = series[: read_values + ends["train"]]
        levels = np.diff(series) if difference else series
        training_levels = np.diff(training) if difference else training
        center, self.scale = float(training_levels.mean()), float(training_levels.std())
        if self.scale == 0:
            raise ValueError(f"target={target!r} should vary, and is constant over training in {path}")

        # windows[i] holds the inputs of example i, then its target
        windows = torch.tensor((levels - center) / self.scale, dtype=torch.float32).unfold(0, window + 1, 1)
        inputs, targets = windows[:, :-1].unsqueeze(2), windows[:, -1:]
        before, actual = series[read_values - 1 : -1], series[read_values:]
        # an answer in the units of the file is `origin + scale * answer`
        origins = torch.tensor(before + center if difference else np.full(examples, center)).unsqueeze(1)
        self.data, self.origins = {}, {}
        start = 0
        for split, end in ends.items():
            self.data[split] = (inputs[start:end], targets[start:end])
            self.origins[split] = origins[start:end]
            start = end
        tested = slice(ends["val"], ends["test"])
        answers = {"chance": training.mean(), "persistence": before[tested]}
        if difference:
            answers["drift"] = before[tested] + center
        errors = {name: float(np.sqrt(np.mean((actual[tested] - answer) ** 2))) for name, answer in answers.items()}
        self.chance = errors.pop("chance")
        self._baselines = errors
        self.solved_at = min(errors.values())
        self._facts = {"center": center, "scale": self.scale, "window": window, "difference": difference}

    @property
    def facts(self) -> dict[str, Any]:
        return self._facts

    @property
    def baselines(self) -> dict[str, float]:
        return self._baselines

    def is_solved(self, value: float) -> bool:
        return value < self.solved_at

    def metric(self) -> Metric:
        return RootMeanSquaredError(self.scale)

    def decode(self, answers: Tensor, split: Split) -> Tensor:
        return self.origins[split][: len(answers)] + self.scale * answers


class RootMeanSquaredError(MeanSquaredError):
    """Root mean squared error of numbers that were divided by `scale`, in their units before that."""

    def __init__(self, scale: float) -> None:
        super().__init__(squared=False)
        self.scale = scale

    def compute(self) -> Tensor:
        return super().compute() * self.scale


def read_column(path: str, column: str) -> np.ndarray:
    """One column of a CSV file as numbers."""
    file = find_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            table = pd.read_csv(file, index_col=False, skip_blank_lines=False)  # a blank line is a gap
    except (ValueError, pd.errors.ParserWarning) as error:  # empty, not text, or ragged
        raise ValueError(f"path should be a CSV file with a header line, and {path} is not: {error}") from error
    filled = np.flatnonzero(table.notna().any(axis=1))
    table = table[: filled[-1] + 1 if len(filled) else 0]  # without blank lines at the end
    if column not in table:
        names = [str(name) for name in table.columns]
        hint = nearest(column, names)
        raise ValueError(f"target should be a column of {path} ({', '.join(names)}), got {column!r}{hint}")
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
    faults = np.flatnonzero(~(np.abs(values) < 1e30))  # NaN included; larger ones overflow in single precision
    if len(faults):
        row = faults[0]
        found = "a gap" if pd.isna(table[column].iloc[row]) else repr(str(table[column].iloc[row]))
        raise ValueError(
            f"target={column!r} should hold a number in every row of {path}, "
            f"found {found} in row {row + 1} ({len(faults)} such rows of {len(values)})"
        )
    return values
