"""The contract between a task and everything that trains on it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy

Split = Literal["train", "val", "test"]

IGNORED = -100
"""The target of a position that is not scored, where targets are classes. Where they are numbers it is NaN."""


class Task(ABC):
    """A task; a subclass sets the attributes below and gives `batch`.

    Inputs are token ids (batch, time) where `tokens` is true, else numbers (batch, time, input_size).
    Targets are class ids (batch,) or numbers (batch, output_size), with `every_step` (batch, time[, output_size]).
    """

    input_size: int
    """Features of one step, or with `tokens` the size of the vocabulary."""
    output_size: int
    """Classes, or numbers, that one answer consists of."""
    tokens: bool = False
    every_step: bool = False
    """Whether each step has an answer, or only the last one."""
    answers_follow: bool = False
    """Whether later inputs tell the answer of a step: what comes next is asked for, and must not be seen."""
    chronological: bool = False
    """Whether the examples of a split follow one another in time."""

    metric_name: str
    """accuracy, cross_entropy (nats), bits (per symbol), mse, or rmse: what `metric` measures."""
    chance: float
    """What the best answer that never looks at the inputs scores, in the test metric. By arithmetic where it is known,
    else the best such answer on training, scored on the test, or on other sequences where they are drawn."""
    solved_at: float
    """The test metric from which on the task counts as solved."""
    test_lengths: Sequence[int] = ()
    """The lengths to be tested at, where a task has a choice: batch i of the test has the i-th of them, in turn."""

    @property
    def higher_is_better(self) -> bool:
        return self.metric_name == "accuracy"

    @property
    def baselines(self) -> dict[str, float]:
        """Other answers worth beating, by name, in the test metric."""
        return {}

    @property
    def facts(self) -> dict[str, Any]:
        """What one must know to use a model of this task elsewhere, in plain containers: a vocabulary, a scale."""
        return {}

    @abstractmethod
    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Batch `index` of a split, with any randomness from `generator`: inputs, targets, and lengths or not.

        Where its sequences differ in length, inputs and targets are padded at the end (targets with what is not
        scored), and `lengths` (batch,) says how many steps of each belong to it.
        """

    def examples(self, split: Split) -> int | None:
        """How many examples a split of validation or test holds; None where they can be drawn without end."""
        return None

    def scored(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The answers that count, (n, output_size), and their targets, (n,) or (n, output_size)."""
        if targets.is_floating_point():
            outputs, targets = outputs.flatten(0, -2), targets.flatten(0, -2)
            counts = ~targets[:, 0].isnan()
        else:
            outputs, targets = outputs.flatten(0, -2), targets.flatten()
            counts = targets != IGNORED
        return outputs[counts], targets[counts]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of numbers, cross-entropy (nats) of classes, over the scored positions."""
        if self.every_step:  # else there is one answer, and it counts
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
        raise ValueError(f"{type(self).__name__} names the metric {self.metric_name!r} and does not give it")

    def decode(self, answers: Tensor, split: Split) -> Tensor:
        """Answers to the examples of a split from the first one on, in the units of the data."""
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


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse a value of the user's that is not a whole number from `least` on."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} should be a whole number from {least} on, got {value!r}")
    if value < least:
        raise ValueError(f"{name} should be a whole number from {least} on, got {value}")
    if value >= 2**63:
        raise ValueError(f"{name} should be a whole number below 2^63, got {value}")
