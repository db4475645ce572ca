"""What was read of whole sequences: the files, their columns, the splits, and the classes in each of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.tasks.real.csv_files import SEPARATORS
from seqmodels.tasks.real.labels import Labels
from seqmodels.tasks.real.recorded import Recorded
from seqmodels.tasks.real.sequence_splits import Splits
from seqmodels.tasks.task import Rows

WRITTEN = 12
"""The most classes of which all answers are written down."""


def report_of(
    path: str, recorded: Recorded, inputs: list[str], label: str, labels: Labels, splits: Splits
) -> dict[str, Rows]:
    """Tables by their titles."""
    report = {
        path: [file_row(recorded)],
        "columns": [*(input_row(recorded, name, place) for place, name in enumerate(inputs)), label_row(label, labels)],
        "splits": [split_row(recorded, name, members) for name, members in splits.items()],
    }
    if labels.classes is not None:
        counts = {name: class_counts(recorded, labels, members) for name, members in splits.items()}
        report["labels of each class"] = [
            {"class": name, **{split: int(count[number]) for split, count in counts.items()}}
            for number, name in enumerate(labels.classes)
        ]
    return report


def file_row(recorded: Recorded) -> dict[str, Any]:
    source = recorded.source
    row: dict[str, Any] = {name: source[name] for name in ("format", "separator", "decimal") if name in source}
    if "separator" in row:
        row["separator"] = SEPARATORS[row["separator"]]
    row |= {name: source[key] for name, key in (("files", "files"), ("other files", "other_files")) if key in source}
    return row | {"sequences": len(recorded.ids), "steps": int(recorded.lengths.sum())}


def input_row(recorded: Recorded, name: str, place: int) -> dict[str, Any]:
    values = pd.Series(recorded.inputs[:, place])
    found = {measure: float(values.agg(measure)) for measure in ("min", "mean", "max")}
    return {"column": name, "use": "input", **found, "missing": int(values.isna().sum())}


def label_row(label: str, labels: Labels) -> dict[str, Any]:
    values = None if labels.classes else pd.Series(labels.values)
    found = {measure: None if values is None else float(values.agg(measure)) for measure in ("min", "mean", "max")}
    use = "label, a number" if labels.classes is None else f"label, {len(labels.classes)} classes"
    return {"column": label, "use": use, **found, "missing": int((~labels.given).sum())}


def split_row(recorded: Recorded, name: str, members: np.ndarray) -> dict[str, Any]:
    lengths = recorded.lengths[members]
    row = {
        "split": name, "sequences": len(members), "steps": int(lengths.sum()), "shortest": int(lengths.min()),
        "median": float(np.median(lengths)), "longest": int(lengths.max()),
    }  # fmt: skip
    if "group" in recorded.about:
        row["groups"] = recorded.about["group"].iloc[members].nunique()
    return row


def class_counts(recorded: Recorded, labels: Labels, members: np.ndarray) -> np.ndarray:
    """How many labels of a split are of each class."""
    values = labels.values
    values = values[members if len(values) == len(recorded.ids) else recorded.steps_of(members)]
    return np.bincount(values[values >= 0], minlength=len(labels.classes or []))


def class_details(answers: np.ndarray, right: np.ndarray, names: Sequence[str]) -> dict[str, Rows]:
    """How the classes (n,) of a test were answered: accuracy, and balanced accuracy, which is the mean recall of the
    classes that the test has; the recall of each; and how often each was answered with which, or, where there are many
    classes, the most frequent mistakes."""
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (right, answers), 1)
    totals, hits = counts.sum(axis=1), counts.diagonal()
    recalls = [float(hit / total) if total else None for hit, total in zip(hits, totals, strict=True)]
    known = [recall for recall in recalls if recall is not None]
    details: dict[str, Rows] = {
        "test": [{"accuracy": float(hits.sum() / totals.sum()), "balanced accuracy": float(np.mean(known))}],
        "recall of each class": [
            {"class": name, "labels": int(total), "recall": recall}
            for name, total, recall in zip(names, totals, recalls, strict=True)
        ],
    }
    if len(names) <= WRITTEN:
        details["answers (columns) to each class (rows)"] = [
            {"": name, **dict(zip(names, row, strict=True))} for name, row in zip(names, counts.tolist(), strict=True)
        ]
        return details
    mistakes = counts - np.diag(hits)
    worst = [divmod(int(place), len(names)) for place in np.argsort(-mistakes, axis=None, kind="stable")[:WRITTEN]]
    details["most frequent mistakes"] = [
        {"class": names[row], "answer": names[column], "times": int(mistakes[row, column])}
        for row, column in worst
        if mistakes[row, column]
    ]
    return details
