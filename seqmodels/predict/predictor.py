"""A finished run, applied to other files of the same columns, or to one row after the other."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from seqmodels.model import SequenceModel
from seqmodels.predict.answers import answers_to, in_double
from seqmodels.predict.facts import checked
from seqmodels.predict.form import Examples, Form
from seqmodels.predict.sequences import SequencesForm
from seqmodels.predict.stream import Stream
from seqmodels.predict.tables import TableForm
from seqmodels.restore import load_run
from seqmodels.tasks import Task
from seqmodels.untrusted.reading import printable, read_result, run_folder_errors

FORMS: tuple[type[Form], ...] = (SequencesForm, TableForm)
"""The forms of files on which there are tasks."""

PIECE = 4096
"""Examples whose answers are computed, and written, at a time."""


class Predictor:
    """A model, and the form of the files that it reads. `load_predictor` makes one from a run folder."""

    def __init__(self, model: SequenceModel, form: Form) -> None:
        self.model, self.form = in_double(model), form

    def predict(self, path: str | Path) -> pd.DataFrame:
        """The answers to a file, in its units: the columns of predictions.csv, without the targets.

        Series that are too short for any answer are left out.

        Raises:
            FileNotFoundError, ValueError: the file cannot be read, lacks a column, or is too short.
        """
        return pd.concat(self.answers(self.read(path)), ignore_index=True)

    def read(self, path: str | Path) -> Examples:
        """What a file holds for the model. Raises: see `predict`."""
        examples = self.form.read(path)
        if not len(examples):
            raise ValueError(f"{path} is too short: it holds nothing for this model to answer")
        return examples

    def answers(self, examples: Examples) -> Iterator[pd.DataFrame]:
        """The answers to examples, some at a time."""
        for start in range(0, len(examples), PIECE):
            part = slice(start, start + PIECE)
            yield examples.table(part, answers_to(self.model, examples.inputs(part)))

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
        facts = result.get("facts")
        named = facts.get("reader") if isinstance(facts, dict) else None
        kind = next((kind for kind in FORMS if kind.name == named), None)
        if kind is None:
            names = " or ".join(kind.name for kind in FORMS)
            task = printable(result.get("task"), 100)
            raise ValueError(f"predict needs a run on files of your own, with task={names}, and this one is on {task}")
    model = load_run(folder, checkpoint, trusted)
    with run_folder_errors(file):
        form = kind(**checked(facts, kind.facts, model.arguments))
    return Predictor(model, form)


def test_predictions(task: Task, model: SequenceModel) -> Iterator[pd.DataFrame] | None:
    """The answers of a model to the test of a task, beside the targets, some at a time.

    None where the task reads no files of a user's own.
    """
    kind = next((kind for kind in FORMS if kind.name == task.facts.get("reader")), None)
    if kind is None:
        return None
    form = kind(**{name: value for name, value in task.facts.items() if name != "reader"})
    return Predictor(model, form).answers(form.test_of(task))
