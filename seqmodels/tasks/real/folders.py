"""Folders with a file for each sequence."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.checks import nearest
from seqmodels.tasks.real.available_memory import check_memory
from seqmodels.tasks.real.columns import naming
from seqmodels.tasks.real.csv_files import GAPS
from seqmodels.tasks.real.recorded import Columns, Recorded, inputs_of, renamed
from seqmodels.tasks.real.tables import find_file, place, read_table

ENDINGS = (".csv", ".tsv", ".txt", ".parquet", ".npz")
"""The files of a folder that hold sequences; others are passed over, and counted."""
TOGETHER = 1 << 26
"""Bytes of small CSV files that are parsed at a time."""

Part = tuple[np.ndarray, pd.DataFrame, list[int]]
"""The inputs and the further columns of some files, and the number of rows of each."""


def read_file(path: str | Path, columns: Columns) -> Recorded:
    """The sequence of a single file."""
    file = find_file(path)
    return read_files(file.parent, [file], columns, pd.DataFrame(index=[0]), {"files": 1})


def read_classes(path: str | Path, columns: Columns) -> Recorded:
    """The sequences of a folder with a folder for each class, whose files hold one sequence each.

    The only column about sequences is `label`: the name of the folder.
    """
    folder = Path(path).expanduser()
    files, source = files_in(folder)
    loose = [file for file in files if file.parent == folder]
    if columns.about and loose:
        raise ValueError(
            f"path should be a folder with a folder for each class, or labels a table of the labels: {loose[0].name} "
            f"lies in {path} itself"
        )
    about = pd.DataFrame(
        {argument: [file.relative_to(folder).parts[0] for file in files] for argument in columns.about}
    )
    return read_files(folder, files, columns, about, source)


def read_labelled(path: str | Path, labels: str, id: str, columns: Columns) -> Recorded:
    """The sequences of a folder with a file for each, and a table with a row about each.

    The table is searched for in the folder first. Its column `id` names the files, with or without their ending.

    Raises:
        ValueError: the table names a file twice, or one that is not there, or does not name one that is.
    """
    folder = Path(path).expanduser()
    listing = folder / labels if (folder / labels).is_file() else find_file(labels, "labels")
    table, _ = read_table(listing, {"id": [id], **columns.of_sequences}, columns.separator, columns.decimal)
    files, source = files_in(folder, without=listing)
    by_name = {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}
    by_name |= {file.relative_to(folder).as_posix(): file for file in files}
    for file in files:  # a table that names 007.csv as 007 is read as the number 7
        if file.stem.isdecimal():
            by_name.setdefault(str(int(file.stem)), file)
    chosen: dict[Path, None] = {}
    if table[id].isna().any():
        row = int(table[id].isna().argmax())
        raise ValueError(f"id={id!r} should name a file in every row of {labels}, found a gap in {place(table, row)}")
    for row, name in enumerate(table[id].astype(str)):
        if name not in by_name:
            hint = nearest(name, list(by_name))
            raise ValueError(f"labels should name files in {path}, and {name} ({place(table, row)}) is not there{hint}")
        if by_name[name] in chosen:
            raise ValueError(f"labels should name each file once, and {name} comes again in {place(table, row)}")
        chosen[by_name[name]] = None
    unnamed = [file for file in files if file not in chosen]
    if unnamed:
        raise ValueError(
            f"labels should name each file in {path}, and {labels} lacks {unnamed[0].relative_to(folder)} "
            f"({len(unnamed)} of {len(files)} files)"
        )
    return read_files(folder, list(chosen), columns, renamed(table, columns.about), source)


def files_in(folder: Path, without: Path | None = None) -> tuple[list[Path], dict[str, Any]]:
    """The files of sequences in a folder and the folders in it, by name, and what was passed over."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    found = [file for file in files if file.suffix.lower() in ENDINGS and file != without]
    if not found:
        raise ValueError(
            f"path should be a folder with files of sequences ({', '.join(ENDINGS)}), and {folder} has none"
        )
    check_memory(folder, 2 * sum(file.stat().st_size for file in found))
    return found, {"files": len(found), "other_files": len(files) - len(found) - (without in files)}


def read_files(
    folder: Path, files: list[Path], columns: Columns, about: pd.DataFrame, source: dict[str, Any]
) -> Recorded:
    """The sequences of many files."""
    _, form = read_table(files[0], columns.of_steps, columns.separator, columns.decimal)
    inputs, steps, lengths = [], [], []
    for group in groups_of(files):
        together = parsed_together(group, columns, form)
        for values, further, rows in [together] if together else parsed_alone(group, columns):
            inputs.append(values)
            steps.append(further)
            lengths += rows
    for file, length in zip(files, lengths, strict=True):
        if not length:
            raise ValueError(f"path should be a folder of files with sequences, and {file} has no rows")
    return Recorded(
        [file.relative_to(folder).as_posix() for file in files],
        np.array(lengths),
        np.concatenate(inputs),
        pd.concat(steps, ignore_index=True),
        about,
        {**form, **source},
    )


def groups_of(files: list[Path]) -> Iterator[list[Path]]:
    """Files in groups of about `TOGETHER` bytes."""
    groups = np.cumsum([file.stat().st_size for file in files]) // TOGETHER
    for group in np.unique(groups):
        yield [files[i] for i in np.flatnonzero(groups == group)]


def parsed_alone(files: list[Path], columns: Columns) -> Iterator[Part]:
    for file in files:
        table, _ = read_table(file, columns.of_steps, columns.separator, columns.decimal)
        yield inputs_of(table, columns, file), renamed(table, columns.steps), [len(table)]


def parsed_together(files: list[Path], columns: Columns, form: dict[str, Any]) -> Part | None:
    """Plain CSV files with one header, parsed as one: to start a parser takes longer than to read a small file.

    None where anything is unusual. Each file is then read by itself, which also finds what is wrong with it.
    """
    if form["format"] != "csv" or any(file.suffix.lower() in (".parquet", ".npz") for file in files):
        return None
    separator = form["separator"].encode()
    heads, bodies, rows = set(), [], []
    for file in files:
        head, _, body = file.read_bytes().partition(b"\n")
        body = body.rstrip()
        heads.add(head.rstrip())
        bodies += [body] if body else []
        rows.append(body.count(b"\n") + 1 if body else 0)
        if b'"' in head or b'"' in body or body.count(separator) != rows[-1] * head.count(separator):
            return None
    if len(heads) > 1 or not bodies:
        return None
    try:
        names = [name.strip() for name in heads.pop().decode("utf-8-sig").split(form["separator"])]
        kept = [name for asked in columns.of_steps.values() for name in asked]
        options: dict[str, Any] = {"sep": form["separator"], "decimal": form["decimal"], "names": names}
        options["dtype"] = dict.fromkeys(naming(columns.of_steps), str)
        table = pd.read_csv(
            io.BytesIO(b"\n".join(bodies)), header=None, index_col=False, skipinitialspace=True, keep_default_na=False,
            na_values=GAPS, low_memory=False, usecols=kept, **options,
        )  # fmt: skip
        inputs = inputs_of(table, columns, files[0])
    except ValueError:
        return None
    return (inputs, renamed(table, columns.steps), rows) if len(table) == sum(rows) else None
