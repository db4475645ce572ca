"""What was read from a table: the file, its columns, and the windows of each split."""

from typing import Any

import numpy as np
import pandas as pd

from seqmodels.tasks.real.csv_files import SEPARATORS
from seqmodels.tasks.real.rows import Rows
from seqmodels.tasks.real.table_reader import TableReader
from seqmodels.tasks.real.times import as_text
from seqmodels.tasks.task import Split


def report_of(
    path: str,
    source: dict[str, Any],
    reader: TableReader,
    rows: Rows,
    firsts: dict[Split, np.ndarray],
    left_out: dict[str, int],
) -> dict[str, list[dict[str, Any]]]:
    """Tables by their titles, each a list of rows that name their cells."""
    return {
        str(path): [file_row(source, reader, rows)],
        "columns": column_rows(source, reader, rows),
        "windows": split_rows(reader, rows, firsts, left_out),
    }


def file_row(source: dict[str, Any], reader: TableReader, rows: Rows) -> dict[str, Any]:
    row: dict[str, Any] = {name: source[name] for name in ("format", "separator", "decimal") if name in source}
    if "separator" in row:
        row["separator"] = SEPARATORS[row["separator"]]
    row["rows"] = source["rows"]
    if len(rows.values) < source["rows"]:
        row["rows used"] = len(rows.values)
    if rows.names is not None:
        lengths = np.diff(rows.starts)
        row |= {"series": len(lengths), "shortest": int(lengths.min()), "longest": int(lengths.max())}
    if rows.times is not None:
        steps = np.diff(rows.times)[np.diff(rows.series) == 0]
        usual = np.sort(steps)[len(steps) // 2]
        step = duration(pd.Timedelta(usual)) if np.issubdtype(steps.dtype, np.timedelta64) else f"{usual:g}"
        row |= {"from": as_text(rows.times.min()), "to": as_text(rows.times.max())}
        row |= {"usual step": step, "other steps": int((steps != usual).sum())}
    return row


def duration(step: pd.Timedelta) -> str:
    """A time span in its largest unit that divides it, such as "6 hours"."""
    for name, unit in {"day": "1D", "hour": "1h", "minute": "1min", "second": "1s"}.items():
        count, rest = divmod(step, pd.Timedelta(unit))
        if not rest:
            return f"{count} {name}{'s' if count != 1 else ''}"
    return f"{step.total_seconds():g} seconds"


def column_rows(source: dict[str, Any], reader: TableReader, rows: Rows) -> list[dict[str, Any]]:
    """Each column with its use, its type, its values, and the gaps in it."""
    uses = {"input": reader.inputs, "target": reader.targets, "known": reader.known}
    uses |= {use: [name] for use, name in (("time", reader.time), ("id", reader.id)) if name is not None}
    found = []
    for name in dict.fromkeys(name for names in uses.values() for name in names):
        row: dict[str, Any] = {"column": name, "use": ", ".join(use for use, names in uses.items() if name in names)}
        row |= {
            "type": source["types"].get(name, "from the time"),
            "min": None,
            "mean": None,
            "max": None,
            "missing": None,
        }
        if name in reader.columns:
            position = reader.columns.index(name)
            values = rows.values[:, position]
            row |= {"min": float(np.nanmin(values)), "mean": float(np.nanmean(values)), "max": float(np.nanmax(values))}
            row["missing"] = int(rows.missing[:, position].sum())
        found.append(row)
    return found


def split_rows(
    reader: TableReader, rows: Rows, firsts: dict[Split, np.ndarray], left_out: dict[str, int]
) -> list[dict[str, Any]]:
    """Each split with its windows and its targets, and what is left out."""
    found: list[dict[str, Any]] = []
    for name, part in firsts.items():
        row: dict[str, Any] = {"split": name, "windows": len(part)}
        if rows.names is not None:
            row["series"] = len(np.unique(rows.series[part]))
        if rows.times is not None:
            targets = rows.times[part + reader.window], rows.times[part + reader.window + reader.horizon - 1]
            row |= {"targets from": as_text(targets[0].min()), "to": as_text(targets[1].max())}
        found.append(row)
    empty = dict.fromkeys(found[0])
    return found + [{**empty, "split": f"none: {why}", "windows": count} for why, count in left_out.items() if count]
