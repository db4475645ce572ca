"""Sequences of any length, from your own files: their class, a number about them, or a label at each step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from seqmodels.checks import check_choice, check_flag, check_whole
from seqmodels.tasks.finite import FiniteTask
from seqmodels.tasks.losses import LOSSES
from seqmodels.tasks.real.labels import Labels, class_weights_of
from seqmodels.tasks.real.layouts import read
from seqmodels.tasks.real.linear import linear_answers
from seqmodels.tasks.real.ragged import Ragged, bounds_of
from seqmodels.tasks.real.recorded import Columns
from seqmodels.tasks.real.sequence_splits import divide
from seqmodels.tasks.real.sequences_reader import SequencesReader
from seqmodels.tasks.real.sequences_report import class_details, report_of
from seqmodels.tasks.real.table import RootMeanSquaredError, as_list
from seqmodels.tasks.task import IGNORED, Rows, Split


def check_all_grouped(groups: pd.Series, ids: Sequence[str]) -> None:
    """Refuse sequences without a group."""
    missing = groups.isna().to_numpy()
    if missing.any():
        raise ValueError(f"group should be given for every sequence, and is not for {ids[int(missing.argmax())]!r}")


def check_goal(solved_at: float | None, accuracy: bool) -> None:
    """Refuse a goal that no score, or every score, reaches."""
    if solved_at is not None and not (0 < solved_at <= 1 if accuracy else 0 <= solved_at < float("inf")):
        raise ValueError(
            f"solved_at should be {'an accuracy above 0, up to 1' if accuracy else 'an error of at least 0'}, "
            f"got {solved_at}"
        )


class Sequences(FiniteTask):
    """Inputs (batch, time, inputs): columns of your own files, padded at the end, with lengths; target: the label of
    the sequence, or with `every_step` of each step.

    Labels that are text or whole numbers are classes, and the metric is accuracy; other numbers are predicted as such,
    and the metric is the root mean squared error in the units of the file. Inputs, and labels that are numbers, are
    scaled by their mean and standard deviation in training. Validation and test are in order of length.

    Chance is the score of always answering the most frequent class of training, or its mean. The baseline `linear` is
    that of a linear model (logistic or ridge regression) of the mean of each input over the sequence, or with
    `every_step` of the inputs of the step: what can be told without the order of the steps. The task counts as solved
    at the score of that baseline, and at least half of the way from chance to a perfect score.

    Args:
        path: a table of all steps (CSV, Parquet or NPZ), or a folder with a file for each sequence.
        inputs: the columns to read.
        label: the column of the label. In a folder without `labels` the label is the name of the folder that a file
            lies in; with `every_step` it is a column of the files.
        id: the column that says which sequence a row of the table belongs to; or the column of `labels` that names
            the files, with or without their ending.
        labels: for a folder, a table with a row for each file: its label, group and split.
        kind: "classes" or "numbers"; found by the labels if not given.
        every_step: there is a label at each step.
        split: "random" (two thirds for training, a sixth each for validation and test, of each class as much) or
            "given".
        group: the column of a group, such as a writer or a patient, all of whose sequences are to lie in one split.
        split_column: the column with train, val or test, where splits are given. Without any val, a sixth of train is
            used.
        split_seed: of random splits.
        missing: "refuse" gaps in the inputs; "mask": read the mean in their place, and a further feature for each input
            that tells gaps; or fill them "forward" with the last value before, at the beginning of a sequence with the
            mean. Unless refused, steps without a label are not scored.
        loss: of numbers, on scaled values: "mse", "mae" or "huber". That of classes is the cross-entropy.
        class_weights: how much an answer counts in the loss, by its class: "balanced" (every class as much as another),
            or a list of numbers in the order of the classes; all the same if not given.
        solved_at: the score that counts as solved, such as a published one.
        separator: of CSV files; found by itself if not given.
        decimal: the decimal mark of CSV files; found by itself if not given.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the files cannot be read, or cannot be divided into splits.
    """

    def __init__(
        self,
        path: str,
        inputs: str | Sequence[str],
        label: str | None = None,
        id: str | None = None,
        labels: str | None = None,
        kind: Literal["classes", "numbers"] | None = None,
        every_step: bool = False,
        split: Literal["random", "given"] = "random",
        group: str | None = None,
        split_column: str = "split",
        split_seed: int = 0,
        missing: Literal["refuse", "mask", "forward"] = "refuse",
        loss: Literal["mse", "mae", "huber"] = "mse",
        class_weights: Literal["balanced"] | Sequence[float] | None = None,
        solved_at: float | None = None,
        separator: str | None = None,
        decimal: str | None = None,
    ) -> None:
        inputs = as_list(inputs)
        check_flag("every_step", every_step)
        check_choice("split", split, ["random", "given"])
        check_choice("missing", missing, ["refuse", "mask", "forward"])
        check_choice("loss", loss, LOSSES)
        check_whole("split_seed", split_seed, 0)
        if split_seed >= 2**32:
            raise ValueError(f"split_seed should be below 2**32, got {split_seed}")
        about: dict[str, Any] = {"group": group} if group is not None else {}
        about |= {"split_column": split_column} if split == "given" else {}
        answer = {"label": label}
        columns = Columns(
            inputs,
            answer if every_step else {},
            about if every_step else {**answer, **about},
            missing != "refuse",
            separator,
            decimal,
        )
        recorded = read(path, columns, id, labels)
        names: Any = recorded.ids
        if every_step:
            names = np.repeat(np.array(recorded.ids, dtype=object), recorded.lengths)
        found = Labels(
            (recorded.steps if every_step else recorded.about)["label"], kind, every_step and columns.gaps, names,
            recorded.source.get("decimal"),
        )  # fmt: skip
        if group is not None:
            check_all_grouped(recorded.about["group"], recorded.ids)
        if found.classes is not None and loss != "mse":
            raise ValueError(f"loss={loss!r} is for labels that are numbers, and here they are classes")
        check_goal(solved_at, found.classes is not None)
        splits = divide(
            split,
            len(recorded.ids),
            found.values if found.classes and not every_step else None,
            recorded.about.get("group"),
            recorded.about.get("split_column"),
            split_seed,
        )
        training = np.isin(np.arange(len(recorded.ids)), splits["train"])
        self.reader = SequencesReader.fitted(
            recorded, found, training, inputs=inputs, id=None if Path(path).expanduser().is_dir() else id, label=label,
            every_step=every_step, missing=missing, separator=separator, decimal=decimal,
        )  # fmt: skip
        self.every_step, self.symbols = every_step, found.classes
        self.input_size = self.reader.input_size
        self.output_size = len(found.classes) if found.classes else 1
        self.metric_name = "accuracy" if found.classes else "rmse"
        self.loss_name = loss
        self.padded = len(np.unique(recorded.lengths)) > 1
        values, targets = self.reader.encode(recorded), found.targets(self.reader.center, self.reader.scale)
        self.data: dict[Split, Ragged] = {}
        self.ids: dict[Split, list[str]] = {}
        """The names of the sequences of each split, in its order."""
        self.labels: dict[Split, np.ndarray] = {}
        """Their labels, classes or numbers in the units of the file; those of all steps with `every_step`."""
        for name, members in splits.items():
            order = members[np.argsort(recorded.lengths[members], kind="stable")]
            steps = recorded.steps_of(order)
            lengths = torch.tensor(recorded.lengths[order])
            answers = targets[steps if every_step else order]
            self.data[name] = Ragged(values[steps], answers, lengths.cumsum(0), bounds_of(lengths))
            self.labels[name] = found.values[steps if every_step else order]
            self.ids[name] = [recorded.ids[number] for number in order]
            if not self.is_scored(self.data[name].targets).any():
                raise ValueError(f"label should be given for some steps of each split, and is for none of {name}")

        self.report = report_of(path, recorded, list(inputs), label or "folder", found, splits)
        known = self.data["train"].targets
        self.weights = None
        if class_weights is not None:
            self.weights = class_weights_of(class_weights, found.classes, known[self.is_scored(known)])
        self.chance, linear = self._score(self._most_likely()), self._score(self._linear())
        self._baselines = {"linear": linear}
        halfway = (self.chance + self.higher_is_better) / 2
        self.solved_at = (max if self.higher_is_better else min)(linear, halfway) if solved_at is None else solved_at

    @property
    def facts(self) -> dict[str, Any]:
        return {"reader": "sequences", **self.reader.facts}

    @property
    def baselines(self) -> dict[str, float]:
        return self._baselines

    def examples(self, split: Split) -> int:
        return len(self.data[split].ends)

    def chosen(self, split: Split, index: int, size: int, generator: torch.Generator) -> Tensor:
        if split == "train":
            return self.data[split].draw(size, generator)
        return super().chosen(split, index, size, generator)

    def read(self, split: Split, chosen: Tensor) -> tuple[Tensor, ...]:
        inputs, targets, lengths = self.data[split].batch(chosen, self.every_step)
        return (inputs, targets, lengths) if self.padded else (inputs, targets)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if self.every_step:
            outputs, targets = self.scored(outputs, targets)
        if self.symbols is None:
            return LOSSES[self.loss_name](outputs, targets.to(outputs.dtype))
        if self.weights is None:
            return F.cross_entropy(outputs, targets)
        # a mean over positions, not over weights, so that the parts of a batch add up to the whole
        return F.cross_entropy(outputs, targets, self.weights.to(outputs), reduction="none").mean()

    def metric(self) -> Metric:
        return super().metric() if self.symbols else RootMeanSquaredError(self.reader.scale)

    def decode(self, answers: Tensor, split: Split) -> Tensor:
        return self.reader.center + self.reader.scale * answers

    def details(self, outputs: Tensor, targets: Tensor) -> dict[str, Rows]:
        """Of classes: see `class_details`."""
        if self.symbols is None:
            return {}
        answers, right = self.scored(outputs, targets)
        return class_details(answers.argmax(dim=1).numpy(), right.numpy(), self.symbols)

    def _most_likely(self) -> float:
        """The best answer without seeing the input: the most frequent class of training, or its mean."""
        targets = self.data["train"].targets
        return targets[targets != IGNORED].mode().values.item() if self.symbols else 0.0

    def _linear(self) -> np.ndarray:
        """The answers of a linear model to the test."""

        def features(data: Ragged) -> np.ndarray:
            values = data.values.double().numpy()
            if self.every_step:
                return values[self.is_scored(data.targets)]
            return np.add.reduceat(values, data.ends - data.lengths) / data.lengths[:, None].numpy()

        train, test = self.data["train"], self.data["test"]
        known = train.targets[self.is_scored(train.targets)].flatten().numpy()
        return linear_answers(features(train), known, features(test))

    def _score(self, answers: np.ndarray | float) -> float:
        """The score of answers to the test, which are classes or scaled numbers."""
        targets = self.data["test"].targets
        right = targets[self.is_scored(targets)].flatten().numpy()
        if self.symbols:
            return float(np.mean(answers == right))
        return self.reader.scale * float(np.sqrt(np.mean((answers - right) ** 2)))
