"""Answers about whole sequences, or at each of their steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from seqmodels.checks import UserError
from seqmodels.model import SequenceModel
from seqmodels.predict.facts import SequencesFacts
from seqmodels.predict.form import Examples, Form, Steps
from seqmodels.tasks.real.recorded import Recorded
from seqmodels.tasks.real.sequences_reader import SequencesReader
from seqmodels.tasks.real.tables import numbers
from seqmodels.tasks.task import IGNORED

MOST_PROBABILITIES = 100
"""The most classes of which all probabilities are written."""


class SequencesForm(Form):
    """The form of the files of `Sequences`.

    A table of answers has the columns `id`; `step`, from 1, where each step has an answer; `target` in the test;
    `answer`; and for classes `probability_` with the name of each, or, where there are many, the `probability` of the
    answer.
    """

    name = "sequences"
    facts = SequencesFacts

    def __init__(self, **arguments: Any) -> None:
        self.reader = SequencesReader(**arguments)
        self.separator, self.decimal = self.reader.separator, self.reader.decimal

    @property
    def columns(self) -> list[str]:
        return self.reader.inputs

    def read(self, path: str | Path) -> "Recordings":
        self.reader.separator, self.reader.decimal = self.separator, self.decimal
        recorded = self.reader.read(path)
        sequences = self.reader.encode(recorded).split(recorded.lengths.tolist())
        return Recordings(self.reader, recorded.ids, sequences)

    def test_of(self, task: Any) -> "Recordings":
        data = task.data["test"]
        lengths = data.lengths.tolist()
        targets = torch.from_numpy(task.labels["test"]).split(lengths if self.reader.every_step else 1)
        return Recordings(self.reader, task.ids["test"], data.values.split(lengths), targets)

    def steps(self, model: SequenceModel, id: str) -> "SequenceSteps":
        return SequenceSteps(self.reader, model, id)


class Recordings(Examples):
    """Sequences, their names and, in the test, their targets: one of each, or one of each step."""

    def __init__(
        self,
        reader: SequencesReader,
        ids: Sequence[str],
        sequences: Sequence[Tensor],
        targets: Sequence[Tensor] | None = None,
    ) -> None:
        self.reader, self.ids, self.sequences, self.targets = reader, ids, sequences, targets

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self, part: slice) -> Sequence[Tensor]:
        return self.sequences[part]

    def table(self, part: slice, outputs: Sequence[Tensor]) -> pd.DataFrame:
        columns: dict[str, Any] = {"id": self.ids[part]}
        answers = torch.cat(list(outputs)) if self.reader.every_step else torch.stack(list(outputs))
        if self.reader.every_step:
            lengths = [len(output) for output in outputs]
            columns["id"] = np.repeat(columns["id"], lengths)
            columns["step"] = [step for length in lengths for step in range(1, length + 1)]
        if self.targets is not None:
            columns["target"] = self.named(torch.cat(list(self.targets[part])))
        columns["answer"] = self.reader.decode(answers)
        if self.reader.classes is not None:
            probabilities = answers.double().softmax(dim=1).numpy()
            if len(self.reader.classes) <= MOST_PROBABILITIES:
                columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(self.reader.classes)}
            else:
                columns["probability"] = probabilities.max(axis=1)
        return pd.DataFrame(columns)

    def named(self, targets: Tensor) -> list[Any]:
        """Targets as the file has them; None where there is none."""
        if self.reader.classes is None:
            return targets.tolist()
        return [None if number == IGNORED else self.reader.classes[number] for number in targets.tolist()]


class SequenceSteps(Steps):
    """Carries the state of the layer from step to step; one that reads in two directions reads all steps again.

    Tables have a column `step` in any case: how many steps have been read.
    """

    def __init__(self, reader: SequencesReader, model: SequenceModel, id: str) -> None:
        if model.directions == 2 and model.every_step:
            raise UserError(
                f"{type(model.layer).__name__} reads in two directions, and needs the whole sequence for any answer: "
                "predict can apply it to a file, but not to a stream"
            )
        self.reader, self.model, self.id = reader, model, id
        self.state: Any = None
        self.last: np.ndarray | None = None
        self.read: list[Tensor] = []
        self.count = 0

    @torch.inference_mode()
    def step(self, row: pd.DataFrame) -> pd.DataFrame:
        inputs = self.encoded(row)
        if self.model.directions == 1:
            answer, self.state = self.model.step(inputs, self.state)
        else:
            self.read.append(inputs)
            answer = self.model(torch.cat(self.read).unsqueeze(0))
        self.count += 1
        output = (answer if self.model.every_step else answer[0]).float()
        table = Recordings(self.reader, [self.id], []).table(slice(1), [output])
        names = [name for name in table if name not in ("id", "step")]
        return table.assign(step=self.count)[["id", "step", *names]]

    def encoded(self, row: pd.DataFrame) -> Tensor:
        """What the model reads of one row, (1, features). A gap is filled from the row before."""
        reader = self.reader
        values = np.stack([numbers(row, name, reader.missing != "refuse") for name in reader.inputs], axis=1)
        both = values if self.last is None else np.concatenate([self.last, values])
        self.last = values if self.last is None else np.where(np.isnan(values), self.last, values)
        nothing = pd.DataFrame()
        return reader.encode(Recorded([self.id], np.array([len(both)]), both, nothing, nothing, {}))[-1:]
