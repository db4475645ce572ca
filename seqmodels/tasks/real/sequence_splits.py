"""Which sequences are for training, validation and test: at random, by group, or as a column says."""

import itertools
import warnings
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.checks import nearest
from seqmodels.tasks.task import Split

FOLDS = 6
"""A sixth of the sequences is for the test, and another one for validation."""

SPLITS: list[Split] = ["train", "val", "test"]

Splits = dict[Split, np.ndarray]
"""The numbers of the sequences of each split, in ascending order."""


def divide(
    how: str,
    count: int,
    classes: np.ndarray | None = None,
    groups: pd.Series | None = None,
    given: pd.Series | None = None,
    seed: int = 0,
) -> Splits:
    """Divide sequences into splits.

    At random, a sixth of them is for the test, and another one for validation. As `given`, validation is a sixth of
    what is for training where `given` has no "val".

    Args:
        how: "random" or "given".
        count: the number of sequences.
        classes: the class of each; every split has nearly the same shares of them.
        groups: the group of each, which is to lie in one split as a whole.
        given: "train", "val" or "test" for each.
        seed: of the random division.

    Raises:
        ValueError: there are too few sequences or groups, or `given` has other words, lacks a split or divides a group.
    """
    everything = np.arange(count)
    if count < 3:
        raise ValueError(f"path should hold three sequences or more, to train, validate and test on, got {count}")
    if how == "given":
        assert given is not None
        check_words(given)
        splits: Splits = {split: everything[given == split] for split in SPLITS}
        if not len(splits["val"]):
            splits["val"], splits["train"] = part_of(splits["train"], classes, groups, seed)
    else:
        test, others = part_of(everything, classes, groups, seed)
        val, train = part_of(others, classes, groups, seed, FOLDS - 1)
        splits = {"train": train, "val": val, "test": test}
    for split, members in splits.items():
        if not len(members):
            raise ValueError(
                f"path should hold enough sequences to train, validate and test on, and {split} is left without any"
            )
    if groups is not None:
        check_groups(groups, splits)
    return splits


def check_words(given: pd.Series) -> None:
    """Refuse words other than train, val and test, and a column that never says train or test."""
    words = given.unique().tolist()
    for word in words:
        if word not in SPLITS:
            hint = nearest(str(word), SPLITS)
            raise ValueError(f"split_column should hold 'train', 'val' or 'test', and holds {word!r}{hint}")
    for word in ("train", "test"):
        if word not in words:
            raise ValueError(f"split_column should say {word!r} for some sequences, and never does")


def check_groups(groups: pd.Series, splits: Splits) -> None:
    """Refuse a group that lies in several splits."""
    for one, other in itertools.combinations(SPLITS, 2):
        shared = set(groups.iloc[splits[one]]) & set(groups.iloc[splits[other]])
        if shared:
            raise ValueError(
                f"group should lie in one split as a whole, and {min(map(str, shared))!r} lies in {one} and {other} "
                f"({len(shared)} such groups)"
            )


def part_of(
    members: np.ndarray, classes: np.ndarray | None, groups: pd.Series | None, seed: int, folds: int = FOLDS
) -> tuple[np.ndarray, np.ndarray]:
    """One of `folds` random parts of nearly equal size, and the other ones together.

    Raises:
        ValueError: there are fewer than two members or groups.
    """
    from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold  # takes a second to import

    units = len(members) if groups is None else groups.iloc[members].nunique()
    if units < 2:
        where = "path should hold sequences" if groups is None else "group should have groups"
        raise ValueError(f"{where} to train, validate and test on, and there is {units} to divide")
    labels = np.zeros(len(members), dtype=int) if classes is None else classes[members]
    most = int(np.bincount(labels).max())
    if most < 2:
        raise ValueError(
            "label should have several sequences of each class, to train, validate and test on, and no two of "
            f"{len(members)} to divide are of one class; if labels are not classes, set task.kind=numbers"
        )
    kind: Any = StratifiedGroupKFold if groups is not None else KFold if classes is None else StratifiedKFold
    number = max(2, min(folds, units, most))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is missing from some parts
        divisions = kind(number, shuffle=True, random_state=seed)
        others, part = next(divisions.split(labels, labels, None if groups is None else groups.iloc[members]))
    return members[part], members[others]
