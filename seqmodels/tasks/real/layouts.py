"""How sequences lie in files: in one long table, in a file for each, or in a folder of such files for each class."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.tasks.real.folders import read_classes, read_labelled
from seqmodels.tasks.real.recorded import Columns, Recorded, inputs_of, renamed
from seqmodels.tasks.real.tables import find_file, place, read_table


def read(path: str, columns: Columns, id: str | None, labels: str | None) -> Recorded:
    """The sequences at a path; the arguments are those of `Sequences`.

    Raises:
        FileNotFoundError, ValueError: they cannot be read, or an argument is needed, or does not fit.
    """
    check_inputs(columns, id)
    label = {**columns.steps, **columns.about}["label"]
    if not Path(path).expanduser().is_dir():
        find_file(path, expected="a table in CSV, Parquet or NPZ, or a folder with files of sequences")
        if labels is not None:
            raise ValueError(f"labels={labels!r} is for a folder with a file for each sequence, and {path} is a file")
        check_given("id", id, f"the column of {path} that tells its sequences apart")
        check_given("label", label, f"the column of {path} to be answered")
        return read_long(path, str(id), columns)
    if labels is not None:
        check_given("id", id, f"the column of labels={labels} that names the files")
        check_given("label", label, f"the column of {labels} to be answered")
        return read_labelled(path, labels, str(id), columns)
    for argument, name in {"id": id, **columns.about}.items():
        if name is not None:
            what = "; there, the label is the folder that a file lies in" if argument == "label" else ""
            raise ValueError(f"{argument}={name!r} needs labels, a table with a row for each file of a folder{what}")
    if "label" in columns.steps:
        check_given("label", label, f"the column of the files in {path} to be answered")
    return read_classes(path, columns)


def check_given(argument: str, value: str | None, what: str) -> None:
    if value is None:
        raise ValueError(f"{argument} should be {what}, got None")


def check_inputs(columns: Columns, id: str | None) -> None:
    """Refuse inputs that occur twice, or that would tell the answer."""
    if not columns.inputs or isinstance(columns.inputs, str):
        raise ValueError(f"inputs should be a list of columns such as [x,y], got {columns.inputs!r}")
    for argument, name in {"id": id, **columns.steps, **columns.about}.items():
        if name in columns.inputs:
            raise ValueError(f"inputs should not contain {argument}={name!r}, got {list(columns.inputs)}")
    for name in columns.inputs:
        if list(columns.inputs).count(name) > 1:
            raise ValueError(f"inputs should name each column once, and {name!r} comes twice")


def shown(value: Any) -> str:
    return "a gap" if pd.isna(value) else str(value)


def read_long(path: str | Path, id: str, columns: Columns) -> Recorded:
    """The sequences of a long table: rows with the same id, which stand together.

    Raises:
        ValueError: rows of one id do not stand together, or a value about the whole sequence varies within it.
    """
    asked = {"id": [id], **columns.of_steps, **columns.of_sequences}
    table, source = read_table(path, asked, columns.separator, columns.decimal)
    found = table[id]
    if table.empty or found.isna().any():
        where = f"is empty in {place(table, int(found.isna().argmax()))} of" if len(table) else "there are no rows in"
        raise ValueError(f"id={id!r} should name a sequence in every row, and {where} {path}")
    sequence, names = pd.factorize(found)  # numbered in order of appearance
    starts = np.flatnonzero(np.diff(sequence, prepend=-1))
    if len(starts) > len(names):
        row = int(starts[np.flatnonzero(np.diff(sequence[starts], prepend=-1) != 1)[0]])
        raise ValueError(
            f"id={id!r} should keep the rows of each sequence together, and {found.iloc[row]} comes again in "
            f"{place(table, row)} of {path}, after {found.iloc[row - 1]}: sort the file by {id!r}, then by time"
        )
    for argument, name in columns.about.items():
        values = pd.factorize(table[name], use_na_sentinel=False)[0]
        varies = values != values[starts][sequence]
        if varies.any():
            row = int(varies.argmax())
            first, other = (shown(table[name].iloc[place]) for place in (starts[sequence[row]], row))
            hint = "; task.every_step=true reads a label at each step" if argument == "label" else ""
            raise ValueError(
                f"{argument}={name!r} should have one value for each sequence, and has {first} and "
                f"{other} for {id}={found.iloc[row]} ({place(table, row)} of {path}){hint}"
            )
    return Recorded(
        [str(name) for name in names],
        np.diff(starts, append=len(table)),
        inputs_of(table, columns, path),
        renamed(table, columns.steps),
        renamed(table.iloc[starts], columns.about),
        source,
    )
