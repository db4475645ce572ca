"""Runs in processes of their own, several at a time; a run that has finished is not repeated."""

import functools
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from seqmodels.checks import UserError
from seqmodels.config import compose
from seqmodels.report.tables import significant

QUIET = ("logger=none", "trainer.enable_progress_bar=false")


@dataclass(frozen=True)
class Job:
    """One run: `seqmodels train <overrides> seed=<seed>` into `folder`, for at most `minutes`."""

    name: str
    overrides: tuple[str, ...]
    seed: int
    folder: Path
    minutes: float

    @property
    def config(self) -> DictConfig:
        config = composed(*self.overrides, *QUIET).copy()
        config.seed = self.seed
        return config

    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`; None if the run has not finished.

        Raises:
            UserError: the folder holds a run with another config.
        """
        try:
            found = OmegaConf.load(self.folder / "config.yaml")
            result = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if decisive(found) != decisive(self.config):
            raise UserError(
                f"{self.folder} holds a run with another config: "
                "use the settings it was run with, choose another folder, or remove it"
            )
        return result

    def run(self) -> str:
        """Train; returns a line with the outcome.

        Raises:
            UserError: the run failed, or took too long.
        """
        if (self.folder / "config.yaml").exists():
            shutil.rmtree(self.folder)  # it was interrupted
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "log.txt"
        quoted = str(self.folder).replace("\\", "\\\\").replace('"', '\\"')
        words = [*self.overrides, *QUIET, f"seed={self.seed}", f'hydra.run.dir="{quoted}"']
        command = [sys.executable, "-m", "seqmodels", "train", *words]
        with log.open("w") as output:
            try:
                subprocess.run(command, stdout=output, stderr=output, timeout=60 * self.minutes, check=True)
            except subprocess.TimeoutExpired as error:
                raise UserError(f"{self.name}: stopped after {self.minutes:g} minutes ({log})") from error
            except subprocess.CalledProcessError as error:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
                raise UserError(f"{self.name}: {said[-1].removeprefix('error: ')} ({log})") from error
        result = json.loads((self.folder / "result.json").read_text(encoding="utf-8"))
        return f"{self.name}: test {result['metric']} {significant(result['test'])}, {result['seconds']:.0f} s"


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The config that all seeds share, composed only once because that takes a while."""
    return compose(*overrides)


def decisive(config: Any) -> dict[str, Any]:
    """The settings of a run that can change its numbers."""
    settings: Any = OmegaConf.to_container(config)
    return {key: value for key, value in settings.items() if key not in ("claim", "published")}


def run_all(jobs: list[Job], processes: int, console: Console) -> list[UserError]:
    """Run the jobs that have not finished, several at a time; returns the errors of those that failed.

    Raises:
        UserError: a job's settings are wrong, or its folder holds another run; then none is run.
    """
    for overrides in {job.overrides for job in jobs}:
        composed(*overrides, *QUIET)
    missing = [job for job in jobs if job.result() is None]
    if len(missing) < len(jobs):
        console.print(f"{len(jobs) - len(missing)} of {len(jobs)} runs have finished already")
    errors = []

    def run(job: Job) -> str | UserError:
        try:
            return job.run()
        except UserError as error:
            return error

    with ThreadPoolExecutor(processes) as pool:
        try:
            for number, outcome in enumerate(pool.map(run, missing), start=1):
                console.print(f"[{number}/{len(missing)}] {outcome}", markup=False, soft_wrap=True)
                if isinstance(outcome, UserError):
                    errors.append(outcome)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return errors
