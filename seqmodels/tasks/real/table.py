"""Forecasting: predict the next values of the measured series in a table from the last ones."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric

from seqmodels.checks import check_choice, check_whole
from seqmodels.tasks.finite import FiniteTask
from seqmodels.tasks.losses import LOSSES, check_loss, quantile_loss
from seqmodels.tasks.real.baselines import Scores, simple_forecasts
from seqmodels.tasks.real.rows import covered
from seqmodels.tasks.real.splits import Border, split_windows
from seqmodels.tasks.real.table_reader import TableReader
from seqmodels.tasks.real.table_report import report_of
from seqmodels.tasks.real.times import time_like
from seqmodels.tasks.task import Split


class Table(FiniteTask):
    """Inputs (batch, window, features): the last rows of a table; targets (batch, horizon * targets): the values of
    some columns in the next rows, all of the first row, then all of the second, ...

    The table has a row for each step of time, oldest first. Windows lie in one series. All targets of a window are in
    one split; its inputs may reach back into the split before. The network sees values scaled by the mean and the
    standard deviation of training. A target that is among the inputs is read as its own past.

    The test metric is the root mean squared error: of one target in the units of the file; of several ones, or of
    series that are scaled each by itself, in standard deviations of training. Chance is the error of always answering
    the mean of training. The baseline `persistence` repeats the last value, `drift` (with `difference`) adds the mean
    change of training to it for each step, and `seasonal` (with `period`) repeats the values of the last period. The
    task counts as solved below all of them.

    Args:
        path: a CSV file with a header line, a Parquet file, or an NPZ file with an array for each column. A relative
            path is searched for in the working directory, then among the files that come with the package
            ("data/co2.csv").
        inputs: the columns to forecast from.
        targets: the columns to forecast.
        window: the rows in an input.
        horizon: the rows to forecast.
        known: what is known in advance, and read `horizon` rows ahead: columns, or "hour", "weekday", "monthday" and
            "yearday", which are found from the time and read as sine and cosine.
        time: the column of times, dates (taken as UTC) or numbers; needed for `known` from it, and for borders that
            are times.
        id: the column that tells the series of a long table apart.
        split: "time": the first part of all series is for training, the last one for the test. "id": whole series.
        val_from: where validation begins, and training ends: a fraction of the windows, between 0 and 1, or a time.
        test_from: likewise the test.
        until: the last time to use; all if not given.
        scaling: by the values of "all" series, or of each "series" by itself.
        missing: "refuse" gaps; "mask": read 0 in their place, and a further feature for each input that tells gaps; or
            fill them "forward" with the last value before. Targets that are missing are never scored.
        difference: read and predict changes from one row to the next rather than values, as a series with a trend
            needs: its later values lie outside the range of training.
        period: the rows after which the series repeats itself, for the baseline `seasonal`.
        loss: of training: "mse", "mae", "huber" (all on scaled values), or "quantile": the answer is then a number for
            each of the `quantiles`, and the median is scored.
        quantiles: of the loss of this name.
        separator: between the fields of a CSV file; found if not given.
        decimal: the decimal mark of a CSV file; found if not given.
        day_first: whether dates such as 05/02/2024 begin with the day; found if not given, where one of them tells, or
            where they have points.

    Raises:
        FileNotFoundError: there is no such file.
        TypeError, ValueError: an argument is none of these, or the file does not hold what they say.
    """

    chronological = True
    metric_name = "rmse"

    def __init__(
        self,
        path: str,
        inputs: str | Sequence[str],
        targets: str | Sequence[str],
        window: int = 24,
        horizon: int = 1,
        known: str | Sequence[str] = (),
        time: str | None = None,
        id: str | None = None,
        split: Literal["time", "id"] = "time",
        val_from: Border = 0.7,
        test_from: Border = 0.85,
        until: float | int | str | None = None,
        scaling: Literal["all", "series"] = "all",
        missing: Literal["refuse", "mask", "forward"] = "refuse",
        difference: bool = False,
        period: int | None = None,
        loss: Literal["mse", "mae", "huber", "quantile"] = "mse",
        quantiles: Sequence[float] = (0.1, 0.5, 0.9),
        separator: str | None = None,
        decimal: str | None = None,
        day_first: bool | None = None,
    ) -> None:
        check_choice("split", split, ["time", "id"])
        check_loss(loss, quantiles)
        if period is not None:
            check_whole("period", period, 1)
        if split == "id" and scaling == "series":
            raise ValueError("scaling='series' needs split='time': the series of the test have no scale from training")
        self.reader = reader = TableReader(
            as_list(inputs),
            as_list(targets),
            as_list(known),
            time,
            id,
            window,
            horizon,
            difference,
            missing,
            scaling,
            day_first,
        )
        self.loss_name = loss
        self.quantiles = list(quantiles) if loss == "quantile" else None

        self.written = {"separator": separator, "decimal": decimal}
        rows, source = reader.read(path, separator, decimal)
        if until is not None:
            if rows.times is None:
                raise ValueError(f"until={until!r} needs the column of times: set task.time")
            rows = rows.kept(rows.times <= time_like(rows.times, "until", until, reader.day_first))
        self.rows = rows
        self.firsts, left_out = split_windows(rows, reader, split, val_from, test_from)
        training = covered(self.firsts["train"] - difference, reader.lead + horizon, len(rows.values))
        reader.fit(rows, training)
        self.windows = reader.windows(rows)
        self.input_size = reader.input_size
        self.output_size = horizon * len(reader.targets) * len(self.quantiles or [0.5])
        self.report = report_of(path, source, reader, rows, self.firsts, left_out)

        self.names = [
            f"{target}, {step} step{'s' if step > 1 else ''} ahead" if horizon > 1 else target
            for step in range(1, horizon + 1)
            for target in reader.targets
        ]
        self.actual = reader.measured(rows, self.firsts["test"])
        means = reader.means(rows, training)
        self.simple = {
            name: self.scores(forecast)
            for name, forecast in simple_forecasts(reader, rows, self.firsts["test"], means, period)
        }
        self._baselines = {name: scores.total for name, scores in self.simple.items()}
        self.chance = self._baselines.pop("chance")
        self.solved_at = min(self.chance, *self._baselines.values())

    @property
    def facts(self) -> dict[str, Any]:
        return {"reader": "table", **self.reader.facts, "quantiles": self.quantiles, **self.written}

    @property
    def baselines(self) -> dict[str, float]:
        return self._baselines

    def is_solved(self, value: float) -> bool:
        return value < self.solved_at

    def digest(self) -> str:
        digest = hashlib.sha256()
        windows = self.windows
        parts = [windows.features, windows.ahead, windows.answers, *map(torch.from_numpy, self.firsts.values())]
        for tensor in parts if windows.missing is None else [*parts, windows.missing]:
            digest.update(f"{list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def examples(self, split: Split) -> int:
        return len(self.firsts[split])

    def read(self, split: Split, chosen: Tensor) -> tuple[Tensor, ...]:
        firsts = torch.from_numpy(self.firsts[split])[chosen]
        return self.windows.inputs(firsts), self.windows.targets(firsts)

    def is_scored(self, targets: Tensor) -> Tensor:
        return ~targets.isnan()  # each number counts by itself

    def scored(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return super().scored(self.median(outputs), targets)

    def median(self, outputs: Tensor) -> Tensor:
        """Of outputs with a number for each quantile, (batch, horizon * targets); other outputs as they are."""
        if self.quantiles is None:
            return outputs
        return outputs.unflatten(1, (-1, len(self.quantiles)))[..., self.quantiles.index(0.5)]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        targets = targets.to(outputs.dtype)
        if self.quantiles is not None:
            outputs = outputs.unflatten(1, (-1, len(self.quantiles)))
        if self.windows.missing is not None:
            counts = self.is_scored(targets)
            outputs, targets = outputs[counts], targets[counts]
        if self.quantiles is not None:
            return quantile_loss(outputs, targets, self.quantiles)
        return LOSSES[self.loss_name](outputs, targets)

    @property
    def unit(self) -> float | None:
        """The scale of the only target; None if there are several scales, and the metric is in standard deviations."""
        target = self.reader.positions(self.reader.targets)
        return self.reader.scales[0][target[0]] if len(target) == len(self.reader.scales) == 1 else None

    def metric(self) -> Metric:
        return RootMeanSquaredError(self.unit or 1.0)

    def decode(self, answers: Tensor, split: Split) -> Tensor:
        return self.reader.decode(answers, self.rows, self.firsts[split][: len(answers)])

    def scores(self, forecasts: np.ndarray) -> Scores:
        """Of forecasts of the test, in the units of the file; their shape broadcasts to (windows, horizon, targets)."""
        errors = self.actual - forecasts
        return Scores.of(errors, None if self.unit else self.reader.target_scales(self.rows, self.firsts["test"])[1])

    def details(self, outputs: Tensor, targets: Tensor) -> dict[str, list[dict[str, Any]]]:
        reader = self.reader
        forecasts = self.decode(self.median(outputs), "test").reshape(self.actual.shape).numpy()
        methods = {"model": self.scores(forecasts), **self.simple}
        of_targets = [
            {"target": name, **{method: scores.by_target[number] for method, scores in methods.items()}}
            for number, name in enumerate(reader.targets)
        ]
        of_steps = [
            {"steps ahead": step + 1, **{method: scores.by_step[step] for method, scores in methods.items()}}
            for step in range(reader.horizon)
        ]
        details: dict[str, list[dict[str, Any]]] = {}
        if self.unit is None:
            details["root mean squared error of each target, in its units"] = of_targets
        if reader.horizon > 1:
            details["root mean squared error of each step" + ("" if self.unit else ", in standard deviations")] = (
                of_steps
            )
        if self.quantiles is not None:
            outputs = outputs.unflatten(1, (-1, len(self.quantiles)))
            below = (targets.unsqueeze(-1) <= outputs)[self.is_scored(targets)].double().mean(0).tolist()
            details["share of the test below each quantile"] = [
                {"quantile": quantile, "share": share} for quantile, share in zip(self.quantiles, below, strict=True)
            ]
        return details


def as_list(names: Sequence[str]) -> list[str]:
    """Names of columns; a single one need not be in a list."""
    return [names] if isinstance(names, str) else list(names)


class RootMeanSquaredError(MeanSquaredError):
    """Root mean squared error of numbers that were divided by `scale`, in their units before that."""

    def __init__(self, scale: float) -> None:
        super().__init__(squared=False)
        self.scale = scale

    def compute(self) -> Tensor:
        return super().compute() * self.scale
