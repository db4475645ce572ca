"""Whole sequences as they were read from files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.tasks.real.tables import numbers


@dataclass(frozen=True)
class Columns:
    """What to read. Messages name the arguments that ask for the columns."""

    inputs: Sequence[str]
    steps: Mapping[str, Any]
    """Further columns with a value at each step, by argument."""
    about: Mapping[str, Any]
    """Columns with one value for a whole sequence, by argument. A `label` of None is the folder that a file lies in."""
    gaps: bool = False
    """Whether inputs may be missing."""
    separator: str | None = None
    decimal: str | None = None

    @property
    def of_steps(self) -> dict[str, list[str]]:
        return {"inputs": list(self.inputs), **{argument: [name] for argument, name in self.steps.items()}}

    @property
    def of_sequences(self) -> dict[str, list[str]]:
        return {argument: [name] for argument, name in self.about.items()}


@dataclass
class Recorded:
    """Sequences as they were read."""

    ids: list[str]
    """The name of each sequence: its id in a long table, or its file in the folder."""
    lengths: np.ndarray
    """The number of steps of each sequence."""
    inputs: np.ndarray
    """The inputs (steps, columns) of all sequences, one below the other; NaN where a value is missing."""
    steps: pd.DataFrame
    """The further columns of the steps, named after the arguments that ask for them."""
    about: pd.DataFrame
    """The columns about whole sequences, named in the same way."""
    source: dict[str, Any]
    """How the files were read, and what was passed over."""

    @property
    def starts(self) -> np.ndarray:
        """The first step of each sequence."""
        return np.cumsum(self.lengths) - self.lengths

    def steps_of(self, sequences: np.ndarray) -> np.ndarray:
        """The steps of some sequences, one sequence after the other."""
        lengths = self.lengths[sequences]
        shifts = self.starts[sequences] - (np.cumsum(lengths) - lengths)
        return np.arange(lengths.sum()) + np.repeat(shifts, lengths)


def renamed(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Some columns of a table, under the names of the arguments."""
    return pd.DataFrame({argument: table[name] for argument, name in columns.items()}).reset_index(drop=True)


def inputs_of(table: pd.DataFrame, columns: Columns, path: str | Path) -> np.ndarray:
    """The input columns of a table as numbers (rows, columns)."""
    try:
        return np.stack([numbers(table, name, columns.gaps) for name in columns.inputs], axis=1)
    except ValueError as error:
        hint = "; task.missing=mask or forward accepts gaps" if "found a gap" in str(error) else ""
        raise ValueError(f"{path}: {error}{hint}") from error
