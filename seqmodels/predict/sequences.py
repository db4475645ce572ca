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
from seqmodels.predict.form import Examples, Form, Steps, repeated
from seqmodels.tasks.real.recorded import Recorded
from seqmodels.tasks.real.sequences_reader import SequencesReader
from seqmodels.tasks.real.tables import numbers
from seqmodels.tasks.task import IGNORED


class SequencesForm(Form):
    """The form of the files of `Sequences`.

    The table has the columns `id`, `step` where each step has an answer, `target` where it is known, `answer`, and for
    classes `probability_` with the name of each.
    """

    name = "sequences"
    reads_with = SequencesReader
    facts = SequencesFacts
    reader: SequencesReader

    def __init__(self, reader: SequencesReader) -> None:
        super().__init__(reader)
        self.columns, self.id = reader.inputs, reader.id
        self.separator, self.decimal = reader.separator, reader.decimal

    def read(self, path: str | Path) -> Examples:
        recorded = self.reader.read(path)
        sequences = self.reader.encode(recorded).split(recorded.lengths.tolist())
        return Examples(sequences, pd.DataFrame({"id": recorded.ids}))

    def keys(self, task: Any) -> pd.DataFrame:
        return pd.DataFrame({"id": task.ids["test"]})

    def table(
        self, outputs: Sequence[Tensor], keys: pd.DataFrame, targets: Sequence[Tensor] | None = None
    ) -> pd.DataFrame:
        if self.reader.every_step:
            keys = repeated(keys, [len(output) for output in outputs])
            answers = torch.cat(list(outputs))
            right = None if targets is None else torch.cat(list(targets))
        else:
            answers = torch.stack(list(outputs))
            right = None if targets is None else torch.stack(list(targets))
        columns: dict[str, Any] = {str(name): keys[name] for name in keys}
        if right is not None:
            columns["target"] = self.named(right)
        columns["answer"] = self.reader.decode(answers)
        if self.reader.classes is not None:
            probabilities = answers.double().softmax(dim=1).numpy()
            columns |= {f"probability_{name}": probabilities[:, i] for i, name in enumerate(self.reader.classes)}
        return pd.DataFrame(columns)

    def named(self, targets: Tensor) -> list[Any]:
        """Targets as the file has them; None where there are none."""
        if self.reader.classes is None:
            return (self.reader.center + self.reader.scale * targets.flatten().double()).tolist()
        return [None if number == IGNORED else self.reader.classes[number] for number in targets.tolist()]

    def steps(self, model: SequenceModel, id: str) -> "SequenceSteps":
        return SequenceSteps(self, model, id)


class SequenceSteps(Steps):
    """Carries the state of the layer from step to step; one that reads in two directions reads all steps again."""

    def __init__(self, form: SequencesForm, model: SequenceModel, id: str) -> None:
        if model.directions == 2 and model.every_step:
            raise UserError(
                f"{type(model.layer).__name__} reads in two directions, and needs the whole sequence for any answer: "
                "predict can read a file with this model, but no stream"
            )
        self.form, self.model, self.id = form, model, id
        self.count = 0
        self.state: Any = None
        self.last: np.ndarray | None = None
        self.read: list[Tensor] = []

    @torch.inference_mode()
    def step(self, row: pd.DataFrame) -> pd.DataFrame:
        inputs = self.encoded(row)
        if self.model.directions == 1:
            answer, self.state = self.model.step(inputs, self.state)
        else:
            self.read.append(inputs)
            answer = self.model(torch.cat(self.read).unsqueeze(0))
        self.count += 1
        table = self.form.table([answer if self.model.every_step else answer[0]], pd.DataFrame({"id": [self.id]}))
        if "step" not in table:
            table.insert(1, "step", 0)
        return table.assign(step=self.count)

    def encoded(self, row: pd.DataFrame) -> Tensor:
        """What the model reads of one row, (1, features). A gap is filled from the row before."""
        reader = self.form.reader
        values = np.stack([numbers(row, name, reader.missing != "refuse") for name in reader.inputs], axis=1)
        both = values if self.last is None else np.concatenate([self.last, values])
        self.last = values if self.last is None else np.where(np.isnan(values), self.last, values)
        nothing = pd.DataFrame()
        return reader.encode(Recorded(["1"], np.array([len(both)]), both, nothing, nothing, {}))[-1:]
