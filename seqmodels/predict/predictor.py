"""A finished run, applied to other files of the same columns, or to one row after the other."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from seqmodels.batches import Batches
from seqmodels.model import SequenceModel
from seqmodels.predict.answers import answers_to
from seqmodels.predict.facts import checked
from seqmodels.predict.form import Form, in_pieces
from seqmodels.predict.sequences import SequencesForm
from seqmodels.predict.stream import Stream
from seqmodels.restore import load_run
from seqmodels.tasks import Task
from seqmodels.untrusted.reading import printable, read_result, run_folder_errors

FORMS: tuple[type[Form], ...] = (SequencesForm,)
"""The forms of files on which there are tasks."""

PIECE = 4096
"""Examples whose answers are computed, and written, at a time."""


class Predictor:
    """A model, and the form of the files that it reads. `load_predictor` makes one from a run folder."""

    def __init__(self, model: SequenceModel, form: Form) -> None:
        self.model, self.form = model, form

    def predict(self, path: str | Path) -> pd.DataFrame:
        """The answers to a file, in its units: the columns of predictions.csv, without the targets.

        Raises:
            FileNotFoundError, ValueError: the file cannot be read, or lacks a column.
        """
        return pd.concat(self.pieces(path), ignore_index=True)

    def pieces(self, path: str | Path) -> Iterator[pd.DataFrame]:
        """The rows of `predict`, some at a time. The file has been read when this returns."""
        examples = self.form.read(path)
        return (self.answers(*piece) for piece in in_pieces(examples, PIECE))

    def answers(self, sequences: Any, keys: pd.DataFrame, targets: list[Tensor] | None = None) -> pd.DataFrame:
        return self.form.table(answers_to(self.model, sequences), keys, targets)

    def step(self, row: Mapping[str, Any]) -> pd.DataFrame | None:
        """The answers after one more row, values by the names of their columns; see `Stream.step`."""
        return self.stream.step(row)

    @cached_property
    def stream(self) -> Stream:
        """The rows given to `step` so far; `stream.begin()` begins a new sequence."""
        return Stream(self.model, self.form)


def load_predictor(folder: str | Path, checkpoint: str = "best", trusted: tuple[str, ...] = ()) -> Predictor:
    """A finished run, to be applied to other files. The arguments are those of `load_run`.

    Raises:
        RunFolderError: see `load_run`; or the run's task has no reader, or what is stored about it is damaged.
    """
    file = Path(folder) / "result.json"
    result = read_result(file)
    with run_folder_errors(file):
        kind = next((kind for kind in FORMS if kind.name == result.get("reader")), None)
        if kind is None:
            names = ", ".join(kind.name for kind in FORMS)
            task = printable(result.get("task"), 100)
            raise ValueError(f"predict needs a task that reads files of your own ({names}), and this run is of {task}")
    model = load_run(folder, checkpoint, trusted)
    with run_folder_errors(file):
        reader = kind.reads_with(**checked(result.get("facts"), kind.facts, model.arguments))
    return Predictor(model, kind(reader))


def form_of(task: Task) -> Form | None:
    """The form of the files of a task; None of a task without a reader of files."""
    reader = getattr(task, "reader", None)
    return next((kind(reader) for kind in FORMS if isinstance(reader, kind.reads_with)), None)


def test_answers(form: Form, task: Task, model: SequenceModel, batches: Batches) -> Iterator[pd.DataFrame]:
    """The answers of a model to the test of a task, beside the targets, batch by batch."""
    predictor, keys, start = Predictor(model, form), form.keys(task), 0
    for number in range(len(batches)):
        inputs, targets, *lengths = batches[number]
        sizes = lengths[0].tolist() if lengths else [inputs.size(1)] * len(inputs)
        sequences = [row[:size] for row, size in zip(inputs, sizes, strict=True)]
        right = [row[:size] if task.every_step else row for row, size in zip(targets, sizes, strict=True)]
        part = keys[start : start + len(inputs)].reset_index(drop=True)
        yield predictor.answers(sequences, part, right)
        start += len(inputs)
