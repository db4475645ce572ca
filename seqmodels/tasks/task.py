"""The contract between a task and everything that trains on it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy

from seqmodels.tasks.lengths import Lengths

Split = Literal["train", "val", "test"]

Rows = list[dict[str, Any]]
"""A table of plain data: rows that name their cells."""

IGNORED = -100
"""The target of a position that is not scored, where targets are classes. Where they are numbers it is NaN."""


class Task(ABC):
    """A task; a subclass sets the attributes below and defines `batch`.

    Inputs are token ids (batch, time) where `tokens` is true, else numbers (batch, time, input_size).
    Targets are class ids (batch,) or numbers (batch, output_size), with `every_step` (batch, time[, output_size]).
    """

    input_size: int
    """Features of one step, or with `tokens` the size of the vocabulary."""
    output_size: int
    """The number of classes, or the size of a vector of numbers."""
    tokens: bool = False
    """Whether inputs are token ids."""
    every_step: bool = False
    """Whether each step has an answer, or only the last one."""
    predicts_next: bool = False
    """Whether the answer of a step shows in later inputs, as the next value of a signal does. A layer that reads
    backwards would see it."""
    chronological: bool = False
    """Whether the examples of a split follow one another in time."""
    padded: bool = False
    """Whether the sequences of a batch differ in length, so that `batch` also returns lengths."""
    lengths: Lengths | None = None
    """The lengths of sequences in training and test, of tasks that draw them."""
    quantiles: Sequence[float] | None = None
    """Where an answer has a number for each of these quantiles of each target, one after the other."""
    names: Sequence[str] | None = None
    """The names of the numbers of a target, in order, where they have names."""
    report: Mapping[str, Rows] = {}
    """What was read from the user's data, as tables by title; each is a list of rows that name their cells."""
    symbols: Sequence[str] | None = None
    """The printed name of each class, in order, where classes have one, such as characters."""

    remembered: str = ""
    """What `states` returns, in a few words, such as "the number of ones so far, modulo 2"."""

    metric_name: str
    """What `metric` measures: accuracy, cross_entropy (nats), bits (per symbol), mse, or rmse."""
    chance: float
    """The best score possible without seeing the input, in the test metric. Exact where it can be computed; otherwise
    the score of the best constant answer to the training data, on the test or, for drawn tasks, on other sequences."""
    solved_at: float
    """The test metric at which the task counts as solved."""

    @property
    def tests(self) -> list[str]:
        """The endings of the names of the test metrics: `_at_40`, `_at_80`, ... where there are several lengths."""
        if self.lengths is None or len(self.lengths.tests) == 1:
            return [""]
        return [f"_at_{length}" for length in self.lengths.tests]

    @property
    def higher_is_better(self) -> bool:
        return self.metric_name == "accuracy"

    @property
    def baselines(self) -> dict[str, float]:
        """The scores of simple methods, by name, in the test metric."""
        return {}

    @property
    def facts(self) -> dict[str, Any]:
        """Plain data that a model of this task needs to be used elsewhere, such as a vocabulary or a scale."""
        return {}

    def details(self, outputs: Tensor, targets: Tensor) -> Mapping[str, Rows]:
        """More about the answers to the whole test, as tables by title, in the form of `report`."""
        return {}

    def states(self, inputs: Tensor) -> Tensor | None:
        """What has to be remembered of the inputs after each step, (batch, time), where the task knows it.

        Whole numbers are the states of an automaton or a counter. A model that solves the task has to tell them apart,
        so pictures of its hidden states are coloured by them. None where the task does not say.
        """
        return None

    @abstractmethod
    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Batch `index` of a split, with all randomness from `generator`: inputs, targets and, optionally, lengths.

        Where sequences differ in length, inputs and targets are padded at the end (targets with unscored positions),
        and `lengths` (batch,) holds the number of steps of each sequence.
        """

    def examples(self, split: Split) -> int | None:
        """The number of examples of a validation or test split; None where they are drawn without end."""
        return None

    def scored(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The answers that count, (n, output_size), and their targets, (n,) or (n, output_size).

        Where the numbers of an answer count one by one, both are (n,).
        """
        counts = self.is_scored(targets)
        targets = targets.flatten(0, -2) if targets.is_floating_point() else targets.flatten()
        return outputs.flatten(0, -2)[counts], targets[counts]

    def is_scored(self, targets: Tensor) -> Tensor:
        """Whether each position counts, (positions,), or each number of each position, (positions, output_size)."""
        return ~targets.flatten(0, -2)[:, 0].isnan() if targets.is_floating_point() else targets.flatten() != IGNORED

    def unscored(self, targets: Tensor) -> Tensor:
        """Targets of the same shape, none of which counts."""
        return torch.full_like(targets, torch.nan if targets.is_floating_point() else IGNORED)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of numbers, cross-entropy (nats) of classes, over the scored positions.

        A subclass may have another loss, but it has to be a mean over them: several processes each compute a part.
        """
        if self.every_step:  # otherwise there is one answer, which always counts
            outputs, targets = self.scored(outputs, targets)
        if targets.is_floating_point():
            return F.mse_loss(outputs, targets.to(outputs.dtype))
        return F.cross_entropy(outputs, targets)

    def metric(self) -> Metric:
        """A fresh torchmetrics metric, to be updated with what `scored` returns."""
        match self.metric_name:
            case "accuracy":
                return MulticlassAccuracy(self.output_size, average="micro")
            case "cross_entropy":
                return CrossEntropy()
            case "bits":
                return CrossEntropy(unit=torch.log(torch.tensor(2.0)).item())
            case "mse":
                return MeanSquaredError()
        raise ValueError(f"{type(self).__name__} has metric_name={self.metric_name!r}, and should override metric()")

    def decode(self, answers: Tensor, split: Split) -> Tensor:
        """Answers to the first examples of a split, in the units of the data."""
        return answers

    def is_solved(self, value: float) -> bool:
        return value >= self.solved_at if self.higher_is_better else value <= self.solved_at


class CrossEntropy(MeanMetric):
    """Mean cross-entropy in units of `unit` nats, over all answers seen."""

    def __init__(self, unit: float = 1.0) -> None:
        super().__init__()
        self.unit = unit

    def update(self, outputs: Tensor, targets: Tensor) -> None:  # type: ignore[override]
        super().update(F.cross_entropy(outputs, targets, reduction="none") / self.unit)
