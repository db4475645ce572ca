"""Labels as they stand in files: are they classes or numbers, and what do they mean to a model?"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seqmodels.checks import check_choice
from seqmodels.tasks.real.columns import LARGEST
from seqmodels.tasks.task import IGNORED


class Labels:
    """The labels of sequences, or of steps.

    Args:
        found: the labels in the file.
        kind: "classes" or "numbers"; if not given, text and whole numbers are classes.
        gaps: whether labels may be missing; those do not count.
        places: for messages, the sequence of each label.
        decimal: the decimal mark of a CSV file, from which labels come as text; None for other files.

    Raises:
        ValueError: a label is missing, or is text where numbers are expected, or all are of one class.
    """

    def __init__(
        self,
        found: pd.Series,
        kind: str | None = None,
        gaps: bool = False,
        places: Sequence[str] | None = None,
        decimal: str | None = None,
    ) -> None:
        if kind is not None:
            check_choice("kind", kind, ["classes", "numbers"])
        missing = int(found.isna().sum())
        if missing == len(found) or (missing and not gaps):
            place = "" if places is None else f" for {places[int(found.isna().to_numpy().argmax())]!r}"
            raise ValueError(f"label should be given everywhere, and is not{place} ({missing} of {len(found)} labels)")
        if decimal is not None:
            found = typed(found, decimal, kind)
        self.classes: list[str] | None = None
        """The names of the classes, in order; None where labels are numbers."""
        if (kind or kind_of(found)) == "classes":
            self.classes = class_names(found)
            self.values = class_ids(found, self.classes)
            """Classes, or `IGNORED`; or numbers, or NaN; (labels,)."""
            if len(self.classes) == 1:
                raise ValueError(f"label should have at least two classes, and is {self.classes[0]!r} everywhere")
        else:
            self.values = as_numbers(found)

    @property
    def given(self) -> np.ndarray:
        """Which labels are not missing, (labels,)."""
        return self.values != IGNORED if self.classes is not None else ~np.isnan(self.values)

    def check(self, training: np.ndarray) -> None:
        """Refuse labels of which a model cannot learn enough in training, `training` (labels,) of them.

        Raises:
            ValueError: a class, or any difference between numbers, is missing from training.
        """
        known = self.values[training & self.given]
        if self.classes is None:
            if not len(known) or known.std() == 0:
                raise ValueError("label should vary in training, and does not")
            return
        for number in np.unique(self.values[self.given]):
            if number not in known:
                count = (self.values == number).sum()
                raise ValueError(
                    f"label should have each of its classes in training, and {self.classes[number]!r} is only in "
                    f"validation or test ({count} of {len(self.values)} labels); if labels are not classes, "
                    "set task.kind=numbers"
                )

    def targets(self, center: float, scale: float) -> Tensor:
        """Classes (labels,), or numbers (labels, 1) that are scaled."""
        if self.classes is not None:
            return torch.tensor(self.values)
        return torch.tensor((self.values - center) / scale, dtype=torch.float32).unsqueeze(1)


def typed(found: pd.Series, decimal: str, kind: str | None) -> pd.Series:
    """Labels that come as text, as numbers if some have decimals and all are numbers.

    Whole numbers stay text: 01 and 1 are two classes.
    """
    if pd.api.types.is_numeric_dtype(found) or found.dropna().astype(str).str.fullmatch(r"[+-]?\d+").all():
        return found
    pointed = found.str.replace(",", ".") if decimal == "," else found
    numbers = pd.to_numeric(pointed, errors="coerce")
    if kind == "numbers":
        return pointed
    return numbers if (numbers.notna() == found.notna()).all() else found


def kind_of(found: pd.Series) -> str:
    """Whether labels are classes (text, whole numbers, true and false) or numbers with decimals."""
    if not pd.api.types.is_float_dtype(found):
        return "classes"
    given = found.dropna()
    gaps = len(given) < len(found)  # they give whole numbers decimals
    return "classes" if gaps and (given == given.round()).all() else "numbers"


def as_numbers(found: pd.Series) -> np.ndarray:
    """Labels as numbers; NaN where one is missing.

    Raises:
        ValueError: a label is something else, or out of range.
    """
    values = pd.to_numeric(found, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    faults = np.flatnonzero(~(np.abs(values) < LARGEST) & found.notna().to_numpy())
    if len(faults):
        raise ValueError(
            f"label should be a number below {LARGEST:g} for kind='numbers', and is {str(found.iloc[faults[0]])!r} "
            f"({len(faults)} such labels of {len(found)})"
        )
    return values


def class_names(found: pd.Series) -> list[str]:
    """The distinct labels as text, in order: whole numbers by size, others by letter."""
    names = {name_of(label) for label in found.dropna().unique().tolist()}
    whole = all(re.fullmatch(r"-?\d+", name) for name in names)
    return sorted(names, key=(lambda name: (int(name), name)) if whole else None)


def class_ids(found: pd.Series, names: Sequence[str]) -> np.ndarray:
    """The place of each label in `names`; `IGNORED` where it is missing."""
    codes, distinct = pd.factorize(found)
    ids = [names.index(name_of(label)) for label in distinct.tolist()]
    return np.array([*ids, IGNORED], dtype=np.int64)[codes]  # code -1 is a gap


def name_of(label: object) -> str:
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def class_weights_of(weights: str | Sequence[float], classes: Sequence[str] | None, known: Tensor) -> Tensor:
    """The weight of each class in the loss.

    Args:
        weights: "balanced", or numbers in the order of the classes.
        classes: their names.
        known: the classes of the training labels.

    Raises:
        ValueError: there are no classes, or not as many numbers.
    """
    if classes is None:
        raise ValueError(f"class_weights should be None where labels are numbers, got {weights!r}")
    if isinstance(weights, str):
        check_choice("class_weights", weights, ["balanced"])
        counts = torch.bincount(known, minlength=len(classes))
        return len(known) / (len(classes) * counts.float())  # the mean over the labels is 1
    fits = len(weights) == len(classes)
    if not fits or any(isinstance(weight, bool) or not 0 <= weight < 1e6 for weight in weights) or not sum(weights):
        raise ValueError(
            f"class_weights should be 'balanced', or {len(classes)} numbers of at least 0, one for each class "
            f"({', '.join(classes[:20])}), got {list(weights)}"
        )
    return torch.tensor(weights, dtype=torch.float32)
