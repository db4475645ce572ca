"""CSV files with any separator and decimal mark. Both are found in the first lines, or named."""

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from seqmodels.checks import check_choice
from seqmodels.tasks.real.available_memory import check_memory
from seqmodels.tasks.real.columns import Asked, check_columns, naming, placed

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "space"}
"""Spaces count as one separator, however many there are. They often stand within names and times, so they separate
fields only where nothing else does."""
DECIMALS = [".", ","]
GAPS = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL"]
"""How a CSV file may spell a missing value. "None" is not among them: it may be the name of a class."""
SAMPLE = 1000
"""Lines from which the separator, the decimal mark and the size in memory are found."""
CHUNK = 100_000
"""Rows that are parsed at a time."""


def read_csv(
    file: Path, columns: Asked | None, separator: str | None, decimal: str | None
) -> tuple[pd.DataFrame, dict[str, Any]]:
    for argument, value, choices in (("separator", separator, SEPARATORS), ("decimal", decimal, DECIMALS)):
        if value is not None:
            check_choice(argument, value, choices)
    with file.open("rb") as opened:
        if opened.read(4) == b"PK\x03\x04":
            raise ValueError(
                f"path should be a CSV file, and {file} is a ZIP archive, such as a workbook: save it as CSV"
            )
    with as_csv(file), file.open(encoding="utf-8-sig", newline="") as opened:
        lines = list(islice(opened, SAMPLE))
    found = separator or find_separator(file, lines)
    header, *rows = split_lines(lines, found) or [[]]
    if (
        separator is not None
        and len(header) == 1
        and any(len(split_lines(lines[:1], mark)[0]) > 1 for mark in SEPARATORS)
    ):
        raise ValueError(
            f"separator should separate the fields of {file}, got {separator!r}, and its header is {header[0]!r}"
        )
    separator = found
    check_header(file, header, rows, separator)
    decimal = decimal or find_decimal(file, rows, separator)
    names = [name or f"Unnamed: {position}" for position, name in enumerate(header)]
    kept = check_columns(file, names, columns)
    texts = dict.fromkeys(naming(columns), str)
    options: dict[str, Any] = {"names": names, "sep": separator, "decimal": decimal, "dtype": texts}
    with as_csv(file):
        first = next(chunks_of(file, {**options, "nrows": SAMPLE}))[kept]
        size = file.stat().st_size / max(1, sum(len(line.encode()) for line in lines))  # of the file, in samples
        check_memory(file, 2 * size * int(first.memory_usage(deep=True).sum()))
        table = join(file, kept, options)
    table.attrs["decimal"] = decimal
    return placed(table, "line", 2), {"format": "csv", "separator": separator, "decimal": decimal}


@contextmanager
def as_csv(file: Path) -> Iterator[None]:
    """Turn the errors of reading a CSV file into one message."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # the first rows are longer than the header
            yield
    except UnicodeDecodeError as error:
        raise ValueError(f"path should be a CSV file in UTF-8, and {file} is not: {error.reason}") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
        what = (
            "the header has {} fields, and line {} has {}".format(*found.groups())
            if found
            else " ".join(str(error).split())
        )
        raise ValueError(
            f"path should be a CSV file with one field for each column, and {file} is not: {what}"
        ) from error


def split_lines(lines: Sequence[str], separator: str) -> list[list[str]]:
    return list(csv.reader(lines, delimiter=separator, skipinitialspace=True))


def find_separator(file: Path, lines: Sequence[str]) -> str:
    """The character that splits the header into several fields, and each other line into as many.

    Raises:
        ValueError: there is none although some character splits the header, or there are several.
    """
    counts = {separator: [len(row) for row in split_lines(lines, separator) if row] for separator in SEPARATORS}
    able = [separator for separator, found in counts.items() if found and found[0] > 1]
    able = [separator for separator in able if separator != " "] or able
    if able == [" "] and len(set(counts[" "])) > 1:  # a name of several words
        able = []
    if not able:
        return ";"  # one column; a comma is then a decimal mark
    consistent = [separator for separator in able if len(set(counts[separator])) == 1]
    if len(consistent) == 1:
        return consistent[0]
    if len(able) == 1:
        return able[0]  # some lines are at fault
    names = " and ".join(SEPARATORS[separator] for separator in consistent or able)
    raise ValueError(
        f"cannot tell what separates the fields of {file}: {names} would do equally well; set task.separator"
    )


def check_header(file: Path, header: list[str], rows: list[list[str]], separator: str) -> None:
    if not any(header):
        raise ValueError(f"path should be a CSV file with a header line, and the first line of {file} is empty")
    if all(is_number(name) for name in header):
        raise ValueError(
            f"path should be a CSV file with a header line, and the first line of {file} holds numbers: "
            f"{', '.join(header[:5])}"
        )
    for line, row in enumerate(rows, start=2):
        if row and len(row) != len(header):
            raise ValueError(
                f"path should be a CSV file with one field for each column, and {file} is not: the header "
                f"has {len(header)} fields, and line {line} has {len(row)}; if a {SEPARATORS[separator]} is not what "
                "separates them, set task.separator"
            )


def is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", text.strip()) is not None


def find_decimal(file: Path, rows: list[list[str]], separator: str) -> str:
    """The decimal mark of the numbers in some rows.

    Raises:
        ValueError: some have a comma and others a point, or commas might separate thousands.
    """
    marked: dict[str, str] = {}
    for row in rows:
        for cell in row:
            if is_number(cell):
                for mark in DECIMALS:
                    if mark in cell:
                        marked[mark] = cell
    if "," in marked and ("." in marked or separator == ","):
        raise ValueError(
            f"cannot tell the decimal mark of {file}, which has numbers such as {' and '.join(marked.values())}; "
            "set task.decimal"
        )
    return "," if "," in marked else "."


def chunks_of(file: Path, options: dict[str, Any]) -> Iterator[pd.DataFrame]:
    with pd.read_csv(
        file, header=0, index_col=False, skip_blank_lines=False, skipinitialspace=True, keep_default_na=False,
        na_values=GAPS, low_memory=False, encoding="utf-8-sig", chunksize=CHUNK, **options,
    ) as reader:  # fmt: skip
        yield from reader


def join(file: Path, kept: list[str], options: dict[str, Any]) -> pd.DataFrame:
    """The columns to keep, without the blank lines at the end of the file."""
    parts: dict[str, list[pd.Series]] = {name: [] for name in kept}
    count = filled = 0
    for chunk in chunks_of(file, options):
        rows = np.flatnonzero(chunk.notna().any(axis=1))
        filled = count + int(rows[-1]) + 1 if len(rows) else filled
        count += len(chunk)
        for name in kept:
            parts[name].append(chunk[name].copy())  # a view would keep the other columns in memory
    mixed = [name for name in kept if len({pd.api.types.is_numeric_dtype(part) for part in parts[name]}) > 1]
    if mixed:  # text in some chunks only: it should be text in all of them, as the 007 of a name is not the number 7
        return join(file, kept, {**options, "dtype": options["dtype"] | dict.fromkeys(mixed, str)})
    columns = {name: pd.concat(parts.pop(name), ignore_index=True) for name in kept}
    return pd.DataFrame(columns, copy=False).iloc[:filled]
