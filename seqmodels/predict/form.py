"""Between files and models: what a file holds for a model, and a table of the model's answers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from torch import Tensor

from seqmodels.model import SequenceModel
from seqmodels.predict.facts import Facts


@dataclass(frozen=True)
class Examples:
    """What a file holds for a model."""

    sequences: Sequence[Tensor]
    """What the model reads, each (time, features)."""
    keys: pd.DataFrame
    """A row for each sequence, with the columns that identify its answer: `id`, `time`."""


class Form(ABC):
    """The form of the files of one kind of task, around its reader."""

    name: ClassVar[str]
    """How result.json calls the reader."""
    reads_with: ClassVar[type]
    """The class of the reader."""
    facts: ClassVar[type[Facts]]
    """What describes a reader."""
    columns: Sequence[str]
    """The columns that each line of a stream needs."""
    id: str | None
    """The column that tells sequences, or series, apart."""
    separator: str | None
    decimal: str | None

    def __init__(self, reader: Any) -> None:
        self.reader = reader

    @abstractmethod
    def read(self, path: str | Path) -> Examples:
        """What a file holds.

        Raises:
            FileNotFoundError, ValueError: it cannot be read, or lacks a column.
        """

    @abstractmethod
    def keys(self, task: Any) -> pd.DataFrame:
        """The keys of the test examples of a task."""

    @abstractmethod
    def table(self, outputs: Sequence[Tensor], keys: pd.DataFrame, targets: Sequence[Tensor] | None) -> pd.DataFrame:
        """The answers to examples with these keys, in the units of the file, beside their targets, if given."""

    @abstractmethod
    def steps(self, model: SequenceModel, id: str) -> "Steps":
        """The answers to one sequence that is read a step at a time.

        Raises:
            UserError: the model needs whole sequences.
        """


class Steps(ABC):
    """One sequence, read a step at a time."""

    @abstractmethod
    def step(self, row: pd.DataFrame) -> pd.DataFrame | None:
        """The answers after one more row of a file; None as long as there is none.

        Raises:
            ValueError: the row holds something other than numbers.
        """


def repeated(keys: pd.DataFrame, counts: Sequence[int]) -> pd.DataFrame:
    """The keys, each as often as it has answers, numbered from 1 as `step`."""
    rows = keys.loc[keys.index.repeat(counts)].reset_index(drop=True)
    return rows.assign(step=[number for count in counts for number in range(1, count + 1)])


def in_pieces(examples: Examples, size: int) -> Iterator[tuple[Sequence[Tensor], pd.DataFrame]]:
    """The sequences and keys of examples, at most `size` at a time."""
    for start in range(0, len(examples.sequences), size):
        yield examples.sequences[start : start + size], examples.keys[start : start + size].reset_index(drop=True)
