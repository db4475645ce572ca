"""The reader of `Table`: from a file to the inputs of a model, and from its answers to the units of the file."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seqmodels.checks import check_choice, check_flag, check_whole
from seqmodels.tasks.real.columns import MissingColumnError, numbers
from seqmodels.tasks.real.rows import Rows, rows_of
from seqmodels.tasks.real.tables import read_table
from seqmodels.tasks.real.times import CALENDAR, begins_with_day, calendar
from seqmodels.tasks.real.windows import Windows

MOST_SCALES = 100_000
MISSING = ["refuse", "mask", "forward"]


@dataclass
class TableReader:
    """Reads files of the same columns; described in full by its `facts`. Arguments: see `Table`.

    Fitted by `fit`, it turns the `Rows` of `read` into `Windows`.
    """

    inputs: list[str]
    targets: list[str]
    known: list[str]
    time: str | None
    id: str | None
    window: int
    horizon: int
    difference: bool
    missing: str
    scaling: str
    day_first: bool | None = None
    centers: list[list[float]] = field(default_factory=list)
    """Of each series, or of all of them, the mean of each column in training."""
    scales: list[list[float]] = field(default_factory=list)
    """Likewise the standard deviations."""
    names: list[str] | None = None
    """The series that the rows of `centers` and `scales` belong to, where each is scaled by itself."""

    def __post_init__(self) -> None:
        check_whole("window", self.window, 1)
        check_whole("horizon", self.horizon, 1)
        check_flag("difference", self.difference)
        check_choice("missing", self.missing, MISSING)
        check_choice("scaling", self.scaling, ["all", "series"])
        if self.day_first is not None:
            check_flag("day_first", self.day_first)
        for argument in ("inputs", "targets", "known"):
            names = getattr(self, argument)
            if len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{argument} should be names of columns, each once, got {names}")
        if not self.targets:
            raise ValueError("targets should name the columns to forecast, got none")
        if not self.inputs and not self.known:
            raise ValueError("inputs should name the columns to forecast from, got none")
        for name in self.known:
            if name in self.targets:
                raise ValueError(f"known={name!r} is a target: reading it ahead would give the answer away")
            if name in CALENDAR and self.time is None:
                raise ValueError(f"known={name!r} is found from dates: name their column, task.time")
        for argument in ("time", "id"):
            if getattr(self, argument) in self.columns:
                use = next(
                    use for use in ("inputs", "targets", "known") if getattr(self, argument) in getattr(self, use)
                )
                raise ValueError(
                    f"{use} should not contain {argument}={getattr(self, argument)!r}, got {getattr(self, use)}"
                )
        if self.time is not None and self.time == self.id:
            raise ValueError(f"time and id should be two columns, got {self.time!r} for both")
        if self.scaling == "series" and self.id is None:
            raise ValueError("scaling='series' needs a column that tells the series apart: set task.id")
        if self.difference and self.missing == "mask":
            raise ValueError("difference=true needs missing='forward' or 'refuse': a gap has no change")

    @property
    def columns(self) -> list[str]:
        """All columns of numbers: inputs, then targets that are not inputs, then those known in advance."""
        return list(dict.fromkeys([*self.inputs, *self.targets, *(n for n in self.known if n not in CALENDAR)]))

    def positions(self, names: Sequence[str]) -> list[int]:
        return [self.columns.index(name) for name in names if name not in CALENDAR]

    @property
    def input_size(self) -> int:
        masks = len(self.inputs) if self.missing == "mask" else 0
        return len(self.inputs) + masks + len(self.known) + sum(name in CALENDAR for name in self.known)

    @property
    def lead(self) -> int:
        """The rows before the first one to forecast that an example needs."""
        return self.window + self.difference

    @property
    def facts(self) -> dict[str, Any]:
        """Plain data from which `TableReader(**facts)` is the same reader."""
        return asdict(self)

    # Reading

    def read(
        self, path: str | Path, separator: str | None = None, decimal: str | None = None
    ) -> tuple[Rows, dict[str, Any]]:
        """The rows of a file, and what was found out about it.

        Raises:
            FileNotFoundError, ValueError: see `read_table`, and `rows_of`.
        """
        asked = {"targets": self.targets, "inputs": self.inputs, "known": [n for n in self.known if n not in CALENDAR]}
        asked |= {argument: [name] for argument in ("time", "id") if (name := getattr(self, argument)) is not None}
        try:
            table, source = read_table(path, asked, separator, decimal)
        except MissingColumnError as error:
            if error.argument != "known":
                raise
            raise ValueError(f"{error}; from the dates of task.time also {', '.join(CALENDAR)}") from error
        types = {name: str(table[name].dtype) for name in table}
        if self.time is not None and self.day_first is None:  # so that parts of other files are read in the same way
            try:
                self.day_first = begins_with_day(table[self.time], f"time={self.time!r}")
            except ValueError as error:
                raise ValueError(f"{error}, or set task.day_first") from error
        return self.rows_of(table), {**source, "rows": len(table), "types": types}

    def rows_of(self, table: pd.DataFrame) -> Rows:
        """The rows of a table that has the columns of the reader.

        Raises:
            ValueError: see `rows_of`; or a column that is known in advance has gaps, or the calendar no dates.
        """
        for name in self.known:
            if name not in CALENDAR:
                try:
                    numbers(table, name)
                except ValueError as error:
                    raise ValueError(f"known={name!r}: {error}") from error
        rows = rows_of(table, self.columns, self.time, self.id, self.missing, self.day_first)
        dated = rows.times is not None and np.issubdtype(rows.times.dtype, np.datetime64)
        if not dated and any(name in CALENDAR for name in self.known):
            raise ValueError(f"known={self.known} needs dates, and time={self.time!r} holds numbers")
        return rows

    def levels(self, rows: Rows) -> np.ndarray:
        """What is scaled: the values, or with `difference` their changes from row to row, NaN at the start of a series.

        Columns known in advance keep their values.
        """
        if not self.difference:
            return rows.values
        changing = self.positions([*self.inputs, *self.targets])
        levels = rows.values.copy()
        levels[1:, changing] = np.diff(rows.values[:, changing], axis=0)
        levels[rows.starts[:-1, None], changing] = np.nan
        return levels

    def fit(self, rows: Rows, training: np.ndarray) -> None:
        """Take the centres and scales of the rows (a mask) that training reads.

        Raises:
            ValueError: a column is constant there, or all missing; or there are too many series to store their scales.
        """
        levels = self.levels(rows)
        if self.scaling == "series" and len(rows.names or []) * len(self.columns) > MOST_SCALES:
            raise ValueError(
                f"scaling='series' stores scales for at most {MOST_SCALES} columns of all series together, got "
                f"{len(rows.names or [])} series with {len(self.columns)} each; scaling='all' has no such limit"
            )
        self.names = rows.names if self.scaling == "series" else None
        self.centers, self.scales = [], []
        for number, group in enumerate(self.groups(rows)):
            of = "" if self.names is None else f" of series {self.names[number]!r}"
            parts = [column[training[group]] for column in levels[group].T]
            parts = [part[~np.isnan(part)] for part in parts]
            for name, part in zip(self.columns, parts, strict=True):
                if not len(part) or part.std() == 0:
                    what = "is constant" if len(part) else "has no value"
                    raise ValueError(f"column {name!r} should vary, and {what} over training{of}")
            self.centers.append([float(part.mean()) for part in parts])
            self.scales.append([float(part.std()) for part in parts])

    def means(self, rows: Rows, training: np.ndarray) -> np.ndarray:
        """The means (series or 1, targets) of the targets in the rows that training reads."""
        values = rows.values[:, self.positions(self.targets)]
        parts = [[column[training[group]] for column in values[group].T] for group in self.groups(rows)]
        return np.array([[column[~np.isnan(column)].mean() for column in part] for part in parts])

    def groups(self, rows: Rows) -> list[slice]:
        """The rows that are scaled together: all, or those of each series."""
        if self.scaling == "all":
            return [slice(None)]
        return [slice(*ends) for ends in itertools.pairwise(rows.starts)]

    def scale_of(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """The centres and the scales of all columns, (rows or 1, columns).

        Raises:
            ValueError: each series is scaled by itself, and one of these was not in training.
        """
        centers, scales = np.array(self.centers), np.array(self.scales)
        if self.names is None:
            return centers, scales
        numbers_of = {name: number for number, name in enumerate(self.names)}
        for name in rows.names or []:
            if name not in numbers_of:
                raise ValueError(f"series {name!r} was not in training, so its scale is not known (scaling='series')")
        group = np.array([numbers_of[name] for name in rows.names or []])[rows.series]
        return centers[group], scales[group]

    def windows(self, rows: Rows) -> Windows:
        """The inputs and targets of all windows in some rows."""
        centers, scales = self.scale_of(rows)
        scaled = ((self.levels(rows) - centers) / scales).astype(np.float32)
        features = scaled[:, self.positions(self.inputs)]
        if self.missing == "mask":
            features = np.concatenate([np.nan_to_num(features), np.isnan(features)], axis=1, dtype=np.float32)
        calendars = [calendar(rows.times, name) for name in self.known if name in CALENDAR and rows.times is not None]
        ahead = np.concatenate([scaled[:, self.positions(self.known)], *calendars], axis=1, dtype=np.float32)
        targets = self.positions(self.targets)
        missing = rows.missing[:, targets]
        return Windows(
            self.window,
            self.horizon,
            self.difference,
            torch.tensor(features),
            torch.tensor(ahead),
            torch.tensor(scaled[:, targets]),
            torch.tensor(missing) if missing.any() else None,
        )

    def measured(self, rows: Rows, firsts: np.ndarray) -> np.ndarray:
        """The values (windows, horizon, targets) after windows with these first rows; NaN where missing."""
        targets = self.positions(self.targets)
        values = np.where(rows.missing[:, targets], np.nan, rows.values[:, targets])
        return values[firsts[:, None] + self.window + np.arange(self.horizon)]

    def decode(self, answers: Tensor, rows: Rows, firsts: np.ndarray) -> Tensor:
        """Answers (examples, numbers) of a model in the units of the file, in double precision.

        `firsts` are the first rows of the windows that were read.
        """
        centers, scales = self.target_scales(rows, firsts)
        origins = np.broadcast_to(centers, (len(firsts), self.horizon, len(self.targets)))
        if self.difference:  # the last value seen, continued with the mean change
            last = rows.values[firsts + self.window - 1][:, None, self.positions(self.targets)]
            origins = last + np.arange(1, self.horizon + 1)[:, None] * centers
        answers_of = answers.reshape(len(firsts), self.horizon, len(self.targets), -1)
        decoded = torch.tensor(origins)[..., None] + torch.tensor(scales)[..., None] * answers_of
        return decoded.reshape(answers.shape)

    def target_scales(self, rows: Rows, firsts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The centres and the scales of the targets of windows, (windows or 1, 1, targets)."""
        targets = self.positions(self.targets)
        centers, scales = (part[:, None, targets] for part in self.scale_of(rows))
        return (centers, scales) if len(centers) == 1 else (centers[firsts], scales[firsts])
