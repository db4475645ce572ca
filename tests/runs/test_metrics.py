"""metrics.csv, written and continued."""

from pathlib import Path

import pandas as pd
import pytest

from seqmodels.files import append
from seqmodels.runs.metrics import MetricsFile


@pytest.fixture
def metrics(tmp_path):
    return MetricsFile(tmp_path / "metrics.csv")


def log(metrics, steps):
    for step in steps:
        metrics.log_metrics({"train_loss": 1 / (step + 1), "epoch": 0}, step)
        if step % 4 == 3:
            metrics.log_metrics({"val_loss": 0.1 * step, "epoch": 0}, step)


def test_rows_reach_the_file_when_saved_and_columns_are_added(metrics):
    metrics.log_metrics({"train_loss": 0.5}, 0)
    assert not metrics.file.exists()
    metrics.save()
    assert metrics.file.read_bytes() == b"step,train_loss\r\n0,0.5\r\n"
    metrics.log_metrics({"train_loss": 0.25}, 1)
    metrics.save()
    metrics.log_metrics({"a_score": 1.0}, 1)
    metrics.finalize("success")
    assert metrics.file.read_bytes() == b"a_score,step,train_loss\r\n,0,0.5\r\n,1,0.25\r\n1.0,1,\r\n"
    assert pd.read_csv(metrics.file)["step"].tolist() == [0, 1, 1]


def test_rows_that_a_full_disk_refuses_are_written_later(metrics, monkeypatch):
    log(metrics, range(8))
    metrics.save()
    log(metrics, range(8, 12))
    with monkeypatch.context() as full:
        full.setattr("seqmodels.runs.metrics.append", lambda file, content: append(Path("/dev/full"), content))
        with pytest.raises(OSError, match="No space left"):
            metrics.save()
    metrics.save()
    assert pd.read_csv(metrics.file)["step"].tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 7, 7, 8, 9, 10, 11, 11]


@pytest.mark.parametrize("done", [0, 1, 5, 12])
@pytest.mark.parametrize("lost", [0, 1, 9])
def test_a_file_that_is_cut_and_continued_is_the_file_of_one_run(metrics, tmp_path, done, lost):
    log(metrics, range(12))
    metrics.save()
    whole = metrics.file.read_bytes()
    metrics.file.write_bytes(whole[: len(whole) - lost] if done < 12 else whole)  # a line was being written

    continued = MetricsFile(metrics.file)
    continued.cut(done)
    log(continued, range(done, 12))
    continued.save()
    assert continued.file.read_bytes() == whole


def test_what_an_interrupted_run_has_logged_too_much_is_removed(metrics):
    log(metrics, range(12))
    metrics.save()
    continued = MetricsFile(metrics.file)
    continued.cut(3)
    assert pd.read_csv(metrics.file)["step"].tolist() == [0, 1, 2]
    assert "val_loss" not in pd.read_csv(metrics.file)
    continued.cut(0)
    assert not metrics.file.exists()
