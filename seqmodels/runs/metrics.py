"""metrics.csv: a row for each step at which something was logged."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.files import append, sync, write_whole
from seqmodels.untrusted.reading import read_file, run_folder_errors

LIMIT = 2**30
"""Bytes that are read of a file to continue it, which is about ten million rows."""


class MetricsFile(Logger):
    """Writes what is logged to a CSV file that an interrupted run can continue without gaps or repeated rows.

    Lightning's CSVLogger would delete the metrics of the run that is resumed. The column `step` counts from 0, as in
    Lightning: the row of step 99 is what was logged when 100 steps were done.
    """

    name = version = ""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []
        """The rows that are not in the file yet."""

    def cut(self, steps: int) -> None:
        """Remove the rows after the first `steps` steps."""
        with run_folder_errors(self.file):
            rows = [row for row in self.read() if int(row["step"]) < steps]
            self.columns = sorted({name for row in rows for name, value in row.items() if value != ""})
        if rows:
            write_whole(self.file, as_csv(self.columns, rows, header=True))
        else:
            self.file.unlink(missing_ok=True)

    def read(self) -> list[dict[str, Any]]:
        """The rows of the file, as strings, without a last line that was cut off."""
        if not self.file.exists():
            return []
        text, _, _ = read_file(self.file, LIMIT).decode().rpartition("\n")
        return list(csv.DictReader(io.StringIO(text)))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None, "Lightning logs no value without its step"
        # `epoch` is left out: after the last step its value differs between resumed and uninterrupted runs.
        self.rows.append({name: value for name, value in metrics.items() if name != "epoch"} | {"step": step})

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that are waiting. Lightning calls this after each of them."""
        columns = sorted(set(self.columns).union(*self.rows))
        if columns != self.columns:
            write_whole(self.file, as_csv(columns, self.read() + self.rows, header=True))
            self.columns = columns
        elif self.rows:
            append(self.file, as_csv(columns, self.rows))
        self.rows = []

    def sync(self) -> None:
        """Write the rows that are waiting, and wait until all are on the disk."""
        self.save()
        if self.file.exists():
            sync(self.file)

    def finalize(self, status: str) -> None:
        self.save()

    def log_hyperparams(self, *arguments: Any, **others: Any) -> None:
        """Does nothing, because config.yaml holds the settings."""


def as_csv(columns: list[str], rows: list[dict[str, Any]], header: bool = False) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
