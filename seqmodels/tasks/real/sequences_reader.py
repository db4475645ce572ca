"""From files with sequences to the inputs of a model, and from its answers back to the words and units of the files."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqmodels.tasks.real.folders import read_classes, read_file
from seqmodels.tasks.real.labels import Labels
from seqmodels.tasks.real.layouts import read_long
from seqmodels.tasks.real.recorded import Columns, Recorded


class SequencesReader:
    """Reads sequences as the training files were read: the same columns, scaled in the same way.

    Args:
        inputs: the columns that are read.
        centers: the mean of each of them in training.
        scales: the standard deviation of each of them in training.
        missing: what a gap means: "refuse", "mask" or "forward"; see `Sequences`.
        id: the column that tells the sequences of a long table apart; None where each has a file of its own.
        label: the column of the answers, by which they are named.
        every_step: there is an answer at each step.
        classes: their names, in order; None where answers are numbers.
        center, scale: mean and standard deviation of the answers in training, where they are numbers.
        separator, decimal: see `read_table`.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        centers: Sequence[float],
        scales: Sequence[float],
        missing: str = "refuse",
        id: str | None = None,
        label: str | None = None,
        every_step: bool = False,
        classes: Sequence[str] | None = None,
        center: float = 0.0,
        scale: float = 1.0,
        separator: str | None = None,
        decimal: str | None = None,
    ) -> None:
        self.inputs, self.missing, self.id, self.label = list(inputs), missing, id, label
        self.centers, self.scales = np.array(centers, dtype=float), np.array(scales, dtype=float)
        self.every_step = every_step
        self.classes = None if classes is None else list(classes)
        self.center, self.scale = center, scale
        self.separator, self.decimal = separator, decimal

    @classmethod
    def fitted(cls, recorded: Recorded, labels: Labels, training: np.ndarray, **settings: Any) -> "SequencesReader":
        """A reader with the scales of the sequences `training` (sequences,) alone; `settings` are the other arguments.

        Raises:
            ValueError: training lacks a class, or its labels do not vary.
        """
        steps = np.repeat(training, recorded.lengths)
        known = steps if settings["every_step"] else training
        labels.check(known)
        centers, scales = mean_and_deviation(recorded.inputs[steps])
        center, scale = (0.0, 1.0) if labels.classes else mean_and_deviation(labels.values[known])
        return cls(
            centers=centers.tolist(), scales=scales.tolist(), classes=labels.classes, center=float(center),
            scale=float(scale), **settings,
        )  # fmt: skip

    @property
    def facts(self) -> dict[str, Any]:
        """The arguments, as plain data."""
        return {
            "inputs": self.inputs,
            "centers": self.centers.tolist(),
            "scales": self.scales.tolist(),
            "missing": self.missing,
            "id": self.id,
            "label": self.label,
            "every_step": self.every_step,
            "classes": self.classes,
            "center": self.center,
            "scale": self.scale,
            "separator": self.separator,
            "decimal": self.decimal,
        }

    @property
    def input_size(self) -> int:
        return len(self.inputs) * (2 if self.missing == "mask" else 1)

    def read(self, path: str | Path) -> Recorded:
        """The sequences of other files, which need no labels: a long table, or a folder with a file for each.

        Raises:
            FileNotFoundError, ValueError: they cannot be read, or lack a column.
        """
        columns = Columns(self.inputs, {}, {}, self.missing != "refuse", self.separator, self.decimal)
        if Path(path).expanduser().is_dir():
            return read_classes(path, columns)
        return read_file(path, columns) if self.id is None else read_long(path, self.id, columns)

    def encode(self, recorded: Recorded) -> Tensor:
        """What a model reads: (steps, input_size), of all sequences one below the other."""
        values = filled(recorded) if self.missing == "forward" else recorded.inputs
        gaps = np.isnan(values)
        scaled = torch.tensor(np.where(gaps, 0, (values - self.centers) / self.scales), dtype=torch.float32)
        return torch.cat([scaled, torch.tensor(gaps, dtype=torch.float32)], dim=1) if self.missing == "mask" else scaled

    def decode(self, outputs: Tensor) -> list[str] | list[float]:
        """The answers (answers, output_size) of a model, as names of classes or in the units of the file."""
        if self.classes is not None:
            return [self.classes[number] for number in outputs.argmax(dim=1).tolist()]
        return (self.center + self.scale * outputs[:, 0].double()).tolist()


def filled(recorded: Recorded) -> np.ndarray:
    """The inputs, with the last value before it in its sequence for each gap, where there is one."""
    values = recorded.inputs
    steps = np.arange(len(values))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, steps), axis=0)  # the last step with a value
    first = np.repeat(recorded.starts, recorded.lengths)[:, None]
    found = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last >= first, found, np.nan)


def mean_and_deviation(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the values (rows, ...) that are not missing; a deviation of 1 where they do not vary."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column may be missing from all of training
        mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    return np.nan_to_num(mean), np.where(deviation > 0, deviation, 1.0)
