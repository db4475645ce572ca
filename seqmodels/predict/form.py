"""Between files and models: what a file holds for a model, and a table of the model's answers."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from torch import Tensor

from seqmodels.model import SequenceModel
from seqmodels.predict.facts import Facts


def without_advice(message: str) -> str:
    """The message of a reader, without what it says about the settings of a task."""
    return re.sub(r"; task\.missing[^;]*|; if there are several series[^;]*", "", message).replace("task.", "")


class Examples(ABC):
    """What a file holds for a model."""

    left_out: Sequence[str] = ()
    """The names of series that are too short for any answer."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def inputs(self, part: slice) -> Sequence[Tensor]:
        """What the model reads in some of the examples, each (time, features)."""

    @abstractmethod
    def table(self, part: slice, outputs: Sequence[Tensor]) -> pd.DataFrame:
        """The answers to some of the examples in the units of the file, with what identifies them."""


class Steps(ABC):
    """The answers to one sequence, or series, that is read a row at a time."""

    @abstractmethod
    def step(self, row: pd.DataFrame) -> pd.DataFrame | None:
        """The answers after one more row of a file; None if there are none yet.

        Raises:
            ValueError: the row holds something other than numbers.
        """


class Form(ABC):
    """The form of the files of one kind of task."""

    name: ClassVar[str]
    """Its name in the facts of a task."""
    facts: ClassVar[type[Facts]]
    """What describes such files."""

    reader: Any
    """The reader of the task."""
    separator: str | None = None
    decimal: str | None = None
    """How CSV files are written; found by itself where it is None."""

    @abstractmethod
    def __init__(self, **facts: Any) -> None: ...

    @property
    @abstractmethod
    def columns(self) -> Sequence[str]:
        """The columns that each line of a stream needs."""

    @abstractmethod
    def read(self, path: str | Path) -> Examples:
        """What a file holds. It needs no targets.

        Raises:
            FileNotFoundError, ValueError: it cannot be read, or lacks a column.
        """

    @abstractmethod
    def test_of(self, task: Any) -> Examples:
        """The test of a task of this form; tables of the answers have the targets beside them."""

    @abstractmethod
    def steps(self, model: SequenceModel, id: str) -> Steps:
        """The answers to the rows of a sequence, or series, with this id.

        Raises:
            UserError: the model needs whole sequences.
        """
