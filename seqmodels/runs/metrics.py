"""metrics.csv: a row for each step at which something was logged."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.files import append, write_whole

OFTEN = 100
"""Rows reach the file at least every so many steps, for those who watch it."""


class MetricsFile(Logger):
    """Writes what is logged to a CSV file that an interrupted run can continue without gaps or repeated rows.

    Lightning's own logger removes the file of the run that is continued. The column `step` counts from 0, as Lightning
    does: the row of step 99 is what was logged when 100 steps were done.
    """

    name = version = ""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []
        """The rows that are not in the file yet."""

    def cut(self, steps: int) -> None:
        """Leave only the rows of the first `steps` steps in the file."""
        if self.file.exists():
            rows = [row for row in self.read() if int(row["step"]) < steps]
            self.columns = sorted({name for row in rows for name, value in row.items() if value != ""})
            if rows:
                write_whole(self.file, as_csv(self.columns, rows, header=True))
            else:
                self.file.unlink()

    def read(self) -> list[dict[str, Any]]:
        """The rows of the file, as strings, without a last line that was cut off."""
        text, _, _ = self.file.read_text(encoding="utf-8").rpartition("\n")
        return list(csv.DictReader(io.StringIO(text)))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None, "Lightning logs no value without its step"
        # A run has one epoch; which one Lightning says it is after the last step depends on whether it was continued.
        self.rows.append({name: value for name, value in metrics.items() if name != "epoch"} | {"step": step})
        if (step + 1) % OFTEN == 0:
            self.save()

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that are waiting, and wait until they are on the disk."""
        rows, self.rows = self.rows, []
        columns = sorted(set(self.columns).union(*rows))
        if columns != self.columns:
            earlier = self.read() if self.file.exists() else []
            write_whole(self.file, as_csv(columns, earlier + rows, header=True))
            self.columns = columns
        elif rows:
            append(self.file, as_csv(columns, rows))

    def finalize(self, status: str) -> None:
        self.save()

    def log_hyperparams(self, *arguments: Any, **others: Any) -> None:
        """Nothing: the config is in config.yaml."""


def as_csv(columns: list[str], rows: list[dict[str, Any]], header: bool = False) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, extrasaction="ignore")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
