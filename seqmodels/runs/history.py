"""What a metrics.csv, which may come from anyone, tells about the training of a run."""

import io
from pathlib import Path

import pandas as pd

from seqmodels.report.place import LARGEST_SCORE
from seqmodels.untrusted.reading import RunFolderError, printable, read_file, run_folder_errors

LIMIT = 2**26
"""The size in bytes of the largest metrics.csv that is read: about a million rows."""


def read_history(file: Path, metric: str | None) -> pd.DataFrame:
    """The losses and the metric over the steps, as numbers; NaN where there is none.

    The columns are `step`, counted from 0 as in Lightning, and those of `train_loss`, `val_loss` and `val_METRIC` that
    the file has.

    Raises:
        RunFolderError: it is missing, too large, or not a table with a column of steps.
    """
    wanted = {"step", "train_loss", "val_loss", f"val_{metric}"}
    content = read_file(file, LIMIT)
    with run_folder_errors(file):
        if not content.strip():
            raise RunFolderError(f"{printable(file)} is empty")
        table = pd.read_csv(io.BytesIO(content), usecols=lambda name: name in wanted, dtype=str, on_bad_lines="skip")
        if "step" not in table:
            raise RunFolderError(f"{printable(file)} should have a column named step")
        table = table.apply(pd.to_numeric, errors="coerce").astype(float)
        return table.where(table.abs() < LARGEST_SCORE)[table["step"].between(0, 1e15)]
