"""Experiment trackers: Weights & Biases, MLflow and Trackio, offline and without an account.

Each receives the settings of the run and the values of metrics.csv, and writes to its own folder in the run folder.
When a run is resumed, this folder is written again from metrics.csv, so that it contains each step once.
"""

import importlib
import logging
import os
import shutil
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from seqmodels.checks import UserError
from seqmodels.runs.metrics import MetricsFile


class Tracker(Logger):
    """Passes on what a run logs to a tracker, which a subclass defines.

    Args:
        save_dir: the run folder.
        project: the name under which the tracker groups runs.

    Raises:
        UserError: the tracker's package is not installed.
    """

    name = version = ""
    package: str
    """The name of the tracker's package, and of its folder in the run folder."""

    def __init__(self, save_dir: str, project: str = "seqmodels") -> None:
        super().__init__()
        if find_spec(self.package) is None:
            raise UserError(f"logger={self.package} needs a package that is not installed: pip install {self.package}")
        self.folder = Path(save_dir) / self.package
        self.project = project
        self.title = "/".join(Path(save_dir).absolute().parts[-3:])
        """The name of the run: the last parts of its folder, which are task, model and time."""
        self.is_open = False

    @abstractmethod
    def open(self, settings: dict[str, Any]) -> None:
        """Start a run with these settings in the folder, which is empty."""

    @abstractmethod
    def write(self, metrics: dict[str, float], step: int) -> None:
        """Log the values of a step, counted from 0."""

    @abstractmethod
    def end(self, failed: bool) -> None:
        """Write what is buffered, and end all processes and threads."""

    def begin(self, settings: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
        """Replace the content of the folder by these settings and the rows of metrics.csv."""
        if self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True)
        self.open(settings)
        self.is_open = True
        for row in rows:
            values = {name: float(value) for name, value in row.items() if name != "step" and value != ""}
            self.write(values, int(row["step"]))

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        assert step is not None, "Lightning logs no value without its step"
        if not self.is_open:
            self.begin({}, [])
        self.write({name: float(value) for name, value in metrics.items() if name != "epoch"}, step)

    def log_hyperparams(self, *arguments: Any, **others: Any) -> None:
        """Do nothing: the settings are known from `begin`."""

    def close(self, failed: bool) -> None:
        if self.is_open:
            self.is_open = False
            self.end(failed)


class WandB(Tracker):
    """Weights & Biases; `wandb sync FOLDER/wandb/offline-run-*` uploads a run.

    Args:
        offline: write to the folder only. Otherwise the run is uploaded while it trains, which needs an account, and a
            resumed run is uploaded as a new one.
        entity: the account or team that runs are uploaded to.
    """

    package = "wandb"

    def __init__(
        self, save_dir: str, project: str = "seqmodels", offline: bool = True, entity: str | None = None
    ) -> None:
        super().__init__(save_dir, project)
        self.offline, self.entity = offline, entity

    def open(self, settings: dict[str, Any]) -> None:
        places = {f"WANDB_{kind.upper()}_DIR": str(self.folder / kind) for kind in ("cache", "config", "data")}
        os.environ.update(places | {"WANDB_ERROR_REPORTING": "false"})  # otherwise it writes in the home folder
        import wandb

        self.run: Any = wandb.init(
            entity=self.entity,
            project=self.project,
            name=self.title,
            config=settings,
            dir=self.folder.parent,
            mode="offline" if self.offline else "online",
            settings=wandb.Settings(console="off", silent=True),
        )
        self.run.define_metric("*", step_metric="step")

    def write(self, metrics: dict[str, float], step: int) -> None:
        # wandb's own step cannot be logged twice, and training and validation log at the same step.
        self.run.log(metrics | {"step": step})

    def end(self, failed: bool) -> None:
        self.run.finish(exit_code=int(failed))


class MLflow(Tracker):
    """MLflow, with a SQLite database: `mlflow ui --backend-store-uri sqlite:///FOLDER/mlflow/mlflow.db` shows it."""

    package = "mlflow"

    def open(self, settings: dict[str, Any]) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # which would write in the home folder, and to a server
        from mlflow import MlflowClient
        from mlflow.entities import Param

        for name in ("mlflow", "alembic"):  # they report each table of a new database
            logging.getLogger(name).setLevel(logging.WARNING)
        self.client = MlflowClient(f"sqlite:///{self.folder.absolute() / 'mlflow.db'}")
        experiment = self.client.create_experiment(self.project, (self.folder.absolute() / "artifacts").as_uri())
        self.id = self.client.create_run(experiment, run_name=self.title).info.run_id
        params = [Param(name, str(value)) for name, value in settings.items()]
        for start in range(0, len(params), 100):  # the most that it accepts at once
            self.client.log_batch(self.id, params=params[start : start + 100])

    def write(self, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.id, [Metric(name, value, now, step) for name, value in metrics.items()])

    def end(self, failed: bool) -> None:
        self.client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


class Trackio(Tracker):
    """Trackio, with a SQLite database: `TRACKIO_DIR=FOLDER/trackio trackio show` shows it."""

    package = "trackio"

    def open(self, settings: dict[str, Any]) -> None:
        os.environ["TRACKIO_DIR"] = str(self.folder.absolute())  # otherwise it writes in the home folder
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # otherwise it asks for the name of the account, if there is one
        for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
            del sys.modules[name]  # it reads TRACKIO_DIR only when it is imported, which another run may have done
        self.trackio = importlib.import_module("trackio")
        with redirect_stdout(StringIO()):
            self.run = self.trackio.init(
                self.project,
                name=self.title,
                config=settings,
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def write(self, metrics: dict[str, float], step: int) -> None:
        self.run.log(metrics, step=step)

    def end(self, failed: bool) -> None:
        with redirect_stdout(StringIO()):
            self.trackio.finish()


def begin(loggers: Sequence[Logger], settings: dict[str, Any], steps: int) -> None:
    """Make the loggers continue after this many steps. Trackers receive the earlier ones from metrics.csv."""
    (metrics,) = (logger for logger in loggers if isinstance(logger, MetricsFile))
    for logger in loggers:
        if isinstance(logger, Tracker):
            logger.begin(settings, metrics.read())
        elif isinstance(logger, TensorBoardLogger) and steps:
            # It makes TensorBoard discard what it has read of later steps.
            logger._kwargs["purge_step"] = steps


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close the trackers at the end, even after an error."""
    failed = True
    try:
        yield
        failed = False
    finally:
        for logger in loggers:
            if isinstance(logger, Tracker):
                logger.close(failed)
