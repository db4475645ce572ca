"""A sweep: several runs, each in a folder named after its settings, and a file that lists their states.

The folder of a run is <root>/TASK/MODEL/DIGEST-seedN, where the digest is that of all settings that can change the
run's numbers. A finished run is therefore found no matter which sweep it belonged to, and an interrupted one is
resumed. The sweep's own folder, <root>/sweeps/NAME, contains sweep.json and the comparison of its runs.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from seqmodels import __version__
from seqmodels.checks import UserError, as_user_errors, check_whole
from seqmodels.config.compose import own_settings, unchecked
from seqmodels.config.experiment import claim_of
from seqmodels.config.identity import OF_SWEEPS, decisive, identity
from seqmodels.files import write_whole
from seqmodels.processes import available_cores, number_of_processes
from seqmodels.untrusted.reading import RunFolderError, digests_in, printable, read_config, read_result

QUIET = ("logger=none", "trainer.enable_progress_bar=false")
"""Overrides for runs whose progress is not shown."""

LARGEST = 2**25
"""The size in bytes of the largest sweep.json that is read: 100,000 runs, or 20,000 with long error messages."""


@dataclass
class Run:
    """One run of a sweep. A run whose overrides are wrong has no config, and has failed."""

    name: str
    """The words that distinguish it from the other runs."""
    overrides: tuple[str, ...]
    config: DictConfig | None
    minutes: float | None = None
    """The longest time that it may run before it is stopped."""
    folder: Path | None = None
    state: str = "waiting"
    """waiting, running, done, failed or interrupted."""
    message: str = ""
    """Why it failed, or why it is not done."""

    def result(self) -> dict[str, Any] | None:
        """The content of `result.json`; None if the run has not finished.

        Raises:
            RunFolderError: the folder contains another run, or the result of another run.
        """
        if self.config is None or self.folder is None or not (self.folder / "config.yaml").exists():
            return None
        return result_in(self.folder, self.config)

    def as_dict(self, start: Path) -> dict[str, Any]:
        folder = None if self.folder is None else os.path.relpath(self.folder, start)
        return {
            "folder": folder, "overrides": list(self.overrides), "state": self.state, "message": self.message,
        }  # fmt: skip


@dataclass
class Sweep:
    """Runs that were started together, and the folder that describes them."""

    folder: Path
    command: str
    runs: list[Run]
    seconds: dict[str, float] = field(default_factory=dict)
    """The durations of the runs that were completed since the sweep was started, by their names."""

    def write(self) -> None:
        """Write sweep.json: the command, the version of the package, and the state of each run."""
        content = {
            "command": self.command, "version": __version__, "runs": [run.as_dict(self.folder) for run in self.runs],
        }  # fmt: skip
        write_whole(self.folder / "sweep.json", (json.dumps(content, indent=2) + "\n").encode())

    def count(self, state: str) -> int:
        return sum(run.state == state for run in self.runs)


def read_sweep(folder: Path) -> dict[str, Any]:
    """The content of the sweep.json in a folder, which may come from anyone.

    Raises:
        RunFolderError: it is missing, too large, or not a JSON object.
    """
    return read_result(folder / "sweep.json", LARGEST)


class Composer:
    """Composes the configs of runs. Those that differ only in the seed are composed once, because it takes 0.2 s."""

    def __init__(self, *shared: str, config_name: str = "train") -> None:
        self.shared = shared
        self.config_name = config_name
        self.known: dict[tuple[str, ...], DictConfig | UserError] = {}

    def run(self, name: str, words: tuple[str, ...], minutes: float | None = None) -> Run:
        """The run of these overrides; one that has failed if they are wrong."""
        try:
            return Run(name, words, self.config(words), minutes)
        except UserError as error:
            return Run(name, words, None, minutes, state="failed", message=str(error))

    def config(self, words: tuple[str, ...]) -> DictConfig:
        """The settings of the run of these overrides.

        Raises:
            UserError: an override is wrong, or no run of a sweep can have these settings.
        """
        seeds = [word for word in words if word.startswith("seed=") and word[5:].isdigit()]
        others = tuple(word for word in words if word not in seeds)
        seed = {"seed": int(seeds[-1][5:])} if seeds else {}
        if others not in self.known:
            try:
                self.known[others] = unchecked(*self.shared, *others, config_name=self.config_name)
            except UserError as error:
                self.known[others] = error
        composed = self.known[others]
        if isinstance(composed, UserError):
            raise composed
        config = own_settings(composed, "train", **seed)
        if config.resume is not None:
            raise UserError("resume= continues one run in its own folder: leave out -m")
        if number_of_processes(config.trainer) > 1:
            raise UserError("-m trains each run in one process, but trainer.devices asks for several: leave out -m")
        config.claim = claim_of(config)
        return without_sweep(config)


def without_sweep(config: DictConfig) -> DictConfig:
    """The settings of a run alone."""
    return OmegaConf.masked_copy(config, [str(name) for name in config if name not in OF_SWEEPS])


def result_in(folder: Path, config: DictConfig) -> dict[str, Any] | None:
    """The result of the run in a folder, which should have this config; None if it has not finished.

    Raises:
        RunFolderError: the folder contains another run, or the result of another run.
    """
    from seqmodels.experiments.comparisons.results import checked_result  # which imports pandas

    file = folder / "result.json"
    try:
        result = checked_result(file) if file.exists() else None
    except RunFolderError as error:
        raise RunFolderError(f"{error}; to repeat the run, remove its folder and start the sweep again") from error
    digests = {} if result is None else digests_in(result)
    if decisive(read_config(folder / "config.yaml", digests.get("config.yaml"))) != decisive(config):
        raise RunFolderError(f"{folder} contains a run with another config: remove it, or choose another folder")
    if result is None:
        return None
    for name, value in {"task": config.task_name, "model": config.model_name, "seed": config.seed}.items():
        if result[name] != value:
            raise RunFolderError(
                f"{file} belongs to another run: its {name} is {printable(result[name], 100)}, "
                f"but {value} in the config beside it"
            )
    return result


def share_cores(jobs: Any, runs: list[Run]) -> int:
    """How many runs to train at a time, so that their threads do not exceed the cores; null: as many as possible.

    Runs with threads=auto get equal shares of the cores.

    Raises:
        UserError: `jobs` is not a positive whole number, or the runs would need more cores than there are.
    """
    cores = available_cores()
    if jobs is not None:
        with as_user_errors():
            check_whole("jobs", jobs, 1)
    configs = [run.config for run in runs if run.config is not None]
    most = max((config.threads for config in configs if type(config.threads) is int), default=1)
    workers = max((config.data.num_workers for config in configs if type(config.data.num_workers) is int), default=0)
    if jobs is not None and jobs * most > cores:
        raise UserError(f"jobs={jobs} with threads={most} would need {jobs * most} cores, and there are {cores}")
    jobs = jobs or max(cores // (most + workers), 1)
    for config in configs:
        if config.threads == "auto":
            config.threads = cores // jobs
    return jobs


def placed(runs: list[Run], root: Path) -> list[Run]:
    """The runs, with their folders below a root; of several with the same folder, only the first."""
    known: dict[Path | None, Run] = {}
    for run in runs:
        config = run.config
        if config is not None:
            names = str(config.task_name), str(config.model_name)
            run.folder = root.absolute().joinpath(*names, f"{identity(config)}-seed{config.seed}")
    for run in runs:
        known.setdefault(run.folder, run)
    return [run for run in runs if run.folder is None or known[run.folder] is run]


def refuse_if_all_failed(runs: list[Run]) -> None:
    """Raise a UserError with the messages of the runs if all of them have failed."""
    if all(run.state == "failed" for run in runs):
        messages = {run.message.partition(" (")[0]: run.message for run in runs}  # lists of choices may differ
        raise UserError("\nerror: ".join(messages.values()))


def report_failures(sweep: Sweep) -> None:
    """Print each reason for failed runs once, and raise a UserError if any run has failed."""
    failed = [run for run in sweep.runs if run.state == "failed"]
    for message in dict.fromkeys(run.message for run in failed):
        names = [run.name for run in failed if run.message == message]
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"error: [{names[0]}{others}] {message}", file=sys.stderr)
    if failed:
        raise UserError(f"{len(failed)} of {len(sweep.runs)} runs failed")
