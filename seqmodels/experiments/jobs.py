"""Runs in processes of their own, several at a time.

A run that has finished is not repeated, one that was interrupted is continued, and none is ever removed.
"""

import functools
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from seqmodels.checks import UserError
from seqmodels.config import compose
from seqmodels.config.folders import override
from seqmodels.experiments.results import checked_result
from seqmodels.report.tables import significant
from seqmodels.untrusted.reading import RunFolderError, digests_in, printable, read_config

QUIET = ("logger=none", "trainer.enable_progress_bar=false")

PATIENCE = 60
"""Seconds that a run has to save its state before it is killed."""


class Children:
    """The processes of the runs, which end when this process does, however it ends.

    Each has a pipe as its standard input, of which this process holds the other end and writes nothing; see child.py.
    Each has its own session, so that Ctrl-C in the terminal does not reach it; the SIGTERM of `stop` would then be its
    second signal.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running: set[subprocess.Popen] = set()
        self.stopped = False

    def run(self, words: list[str], log: Path, seconds: float) -> None:
        """Run `seqmodels` with these words until it ends, writing to `log`.

        Raises:
            TimeoutExpired: it took longer than `seconds`, and was ended.
            InterruptedError: the runs were stopped.
        """
        command = [sys.executable, "-m", "seqmodels.experiments.child", *words]
        with log.open("a", encoding="utf-8") as output:
            with self.lock:
                if self.stopped:
                    raise InterruptedError("the runs were stopped")
                process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
                )
                self.running.add(process)
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                end([process])
                raise
            finally:
                with self.lock:
                    self.running.discard(process)
                assert process.stdin is not None
                process.stdin.close()

    def stop(self) -> None:
        """Start no more processes, and end those that run."""
        with self.lock:
            self.stopped = True
            running = list(self.running)
        end(running)


def end(processes: list[subprocess.Popen]) -> None:
    """Ask processes to end, and kill those that have not after a minute."""
    for process in processes:
        process.terminate()
    last = time.monotonic() + PATIENCE
    try:
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, last - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Job:
    """One run: `seqmodels train <overrides> seed=<seed>` into `folder`, for at most `minutes` at a time."""

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
            RunFolderError: the folder holds a run with another config, or a result that is not the one of this run.
        """
        if not (self.folder / "config.yaml").exists():
            return None
        file = self.folder / "result.json"
        result = checked_result(file, self.folder) if file.exists() else None
        digests = {} if result is None else digests_in(result)
        found, expected = read_config(self.folder / "config.yaml", digests.get("config.yaml")), self.config
        if decisive(found) != decisive(OmegaConf.to_container(expected)):
            raise RunFolderError(
                f"{self.folder} holds a run with another config: "
                "use the settings it was run with, choose another folder, or remove it"
            )
        if result is not None:
            for name, value in {
                "task": expected.task_name, "model": expected.model_name, "seed": expected.seed
            }.items():  # fmt: skip
                if result[name] != value:
                    raise RunFolderError(
                        f"{file} is of another run: its {name} is {printable(result[name], 100)}, "
                        f"and {value} in the config beside it"
                    )
        return result

    def run(self, children: Children) -> str:
        """Train, or continue training; returns a line with the outcome.

        Raises:
            UserError: the run failed, took too long, or goes on in another process.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "log.txt"
        if (self.folder / "config.yaml").exists():
            classes = [word for word in self.overrides if "_target_=" in word]  # which resume= wants to see typed
            words = [override("resume", self.folder), *classes]
        else:
            words = [*self.overrides, *QUIET, f"seed={self.seed}", override("hydra.run.dir", self.folder)]
        try:
            children.run(["train", *words], log, 60 * self.minutes)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{self.name}: stopped after {self.minutes:g} minutes ({log})") from error
        except InterruptedError as error:
            raise UserError(f"{self.name}: {error}") from error
        result = self.result()  # its training may have diverged, which has an exit code of its own
        if result is None:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
            raise UserError(f"{self.name}: {printable(said[-1].removeprefix('error: '))} ({log})")
        score = "diverged" if result["test"] is None else f"test {result['metric']} {significant(result['test'])}"
        return f"{self.name}: {printable(score)}, {result['seconds']:.0f} s"


@functools.cache
def composed(*overrides: str) -> DictConfig:
    """The config that all seeds share, composed only once because that takes a while."""
    return compose(*overrides)


def decisive(settings: Any) -> dict[str, Any]:
    """The settings of a run that can change its numbers."""
    return {key: value for key, value in settings.items() if key not in ("claim", "published")}


def run_all(jobs: list[Job], processes: int, console: Console) -> list[UserError]:
    """Run the jobs that have not finished, several at a time; returns the errors of those that failed.

    When it is interrupted, it stops the jobs that run before it re-raises the interruption.

    Raises:
        UserError: a job's settings are wrong, or its folder holds another run; then none is run.
    """
    for overrides in {job.overrides for job in jobs}:
        composed(*overrides, *QUIET)
    missing = [job for job in jobs if job.result() is None]
    if len(missing) < len(jobs):
        console.print(f"{len(jobs) - len(missing)} of {len(jobs)} runs have finished already")
    errors = []
    children = Children()

    def run(job: Job) -> str | UserError:
        try:
            return job.run(children)
        except UserError as error:
            return error

    with ThreadPoolExecutor(processes) as pool:
        try:
            for number, outcome in enumerate(pool.map(run, missing), start=1):
                console.print(f"[{number}/{len(missing)}] {outcome}", markup=False, soft_wrap=True)
                if isinstance(outcome, UserError):
                    errors.append(outcome)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            children.stop()
            raise
    return errors
