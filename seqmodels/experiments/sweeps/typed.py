"""A sweep from the command line: from the words after `-m`, and those of a file in conf/sweep/, to its runs.

Hydra calls a `TypedSweep` in place of its own sweeper, which would start one run after the other and write
multirun.yaml.
"""

import itertools
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import basic_sweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.core.plugins import Plugins
from hydra.core.utils import JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from rich.markup import escape

from seqmodels.checks import UserError, as_user_errors, check_whole, nearest
from seqmodels.config.compose import in_block
from seqmodels.config.folders import check_folders, name_in, override
from seqmodels.config.identity import OF_SWEEPS, without_effect
from seqmodels.experiments.sweeps.child import IN_USE, job
from seqmodels.experiments.sweeps.jobs import do_missing, look, shared_environment, start_imports
from seqmodels.experiments.sweeps.progress import console_of_sweep
from seqmodels.experiments.sweeps.sweep import (
    Composer,
    Run,
    Sweep,
    placed,
    refuse_if_all_failed,
    report_failures,
    share_cores,
)
from seqmodels.files import digest_of
from seqmodels.stops import Stopped
from seqmodels.untrusted.reading import printable

MOST = 100_000
"""The most runs of one sweep. A sweep.json of more could not be read again."""

HERE = (None, "joblib", "submitit_local")
"""The launchers that use this machine; None stands for our own child processes."""


@contextmanager
def sweeps_of_hydra() -> Iterator[None]:
    """Make Hydra use `TypedSweep` as its basic sweeper.

    By its name in a config, Hydra builds a sweeper only if it belongs to a package named hydra_plugins.
    """
    plugins: Any = Plugins.instance()

    def instantiate_sweeper(*, config: DictConfig, hydra_context: HydraContext, **others: Any) -> Any:
        if str(config.hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
            return TypedSweep(config, hydra_context)
        return Plugins.instantiate_sweeper(plugins, config=config, hydra_context=hydra_context, **others)

    plugins.instantiate_sweeper = instantiate_sweeper
    try:
        yield
    finally:
        del plugins.instantiate_sweeper


class TypedSweep:
    """Expands the typed words as Hydra's basic sweeper does, and trains the runs that have not finished."""

    def __init__(self, config: DictConfig, context: HydraContext) -> None:
        self.config = config
        self.context = context
        self.settings: Any = config.hydra
        file = self.settings.runtime.choices.get("sweep")
        self.file: str | None = None if file is None else str(file).removesuffix(".yaml")
        """The name of the file in conf/sweep/."""
        launcher = str(self.settings.runtime.choices["hydra/launcher"])
        self.launcher = None if launcher == "basic" else launcher

    def sweep(self, arguments: list[str]) -> None:
        """Train the runs that these words describe, and compare all of them.

        Raises:
            UserError: a setting of the sweep is wrong, or runs have failed.
        """
        HydraConfig.instance().set_config(self.config)
        check_folders(self.settings)
        console = console_of_sweep()
        sweep, jobs = self.planned(arguments, lambda text: console.print(f"[bold]warning:[/bold] {escape(text)}"))
        with shared_environment():  # while the processes of the runs import what they need
            from seqmodels.experiments.sweeps.conclusion import conclude  # which imports pandas, scipy and matplotlib
        try:
            do_missing(sweep, jobs, console, self.launch if self.launcher else None)
        except Stopped as stop:
            stop.message += f"; the same command continues the sweep ({sweep.folder})"
            raise
        try:
            conclude(sweep, console, None if self.config.baseline is None else str(self.config.baseline))
        finally:
            report_failures(sweep)

    def planned(self, arguments: list[str], warn: Callable[[str], None]) -> tuple[Sweep, int]:
        """The sweep with all of its runs, and how many of them to train at a time; `warn` is called with warnings.

        Raises:
            UserError: a setting of the sweep is wrong, or each of its runs is.
        """
        params = [f"{name}={values}" for name, values in (self.settings.sweeper.params or {}).items()]
        overrides = OverridesParser.create(self.context.config_loader).parse_overrides(params + arguments)
        swept = self.checked_names(overrides)
        (combinations,) = basic_sweeper.BasicSweeper.split_arguments(overrides, None)
        chosen = [dict(word.partition("=")[::2] for word in words) for words in combinations]
        default: Any = {name: self.settings.runtime.choices[name] for name in ("model", "block")}
        models = {in_block(**(default | {name: words[name] for name in default if name in words})) for words in chosen}
        others = {words[name] for words in chosen for name in words.keys() - {"baseline", *default}}
        self.check_baseline(models, others)
        if self.config.match is not None:
            from seqmodels.experiments.sweeps.width import matched  # which imports torch

            combinations = matched(combinations, self.config.match, warn)

        root = Path(str(self.settings.sweep.dir)).absolute()
        folder = root / "sweeps" / self.name(arguments, swept)
        if self.launcher is None and not (folder / "sweep.json").exists():  # there are runs to be trained
            start_imports(self.config.trainer.get("accelerator"))
        composer = Composer(*self.settings.overrides.hydra, config_name=self.settings.job.config_name)
        runs = []
        for words in combinations:
            name = " ".join(word for word in words if word.partition("=")[0] in swept) or " ".join(words)
            runs.append(composer.run(name or "the run", tuple(words)))
        refuse_if_all_failed(runs)
        share = share_cores if self.launcher in HERE else share_cluster
        jobs = share(self.config.jobs, runs)
        program = "python train.py" if Path(sys.argv[0]).name == "train.py" else "seqmodels train"
        command = f"{program} {shlex.join(sys.argv[1:])}"
        return Sweep(folder, command, placed(runs, root)), jobs

    def checked_names(self, overrides: list[Override]) -> list[str]:
        """The names of the settings that differ among the runs.

        Raises:
            UserError: there are no runs or too many, or a setting of the whole sweep is among them.
        """
        swept = {each.get_key_element(): each for each in overrides if each.is_sweep_override()}
        for name in sorted({"sweep", "launcher", *OF_SWEEPS} & swept.keys()):
            raise UserError(f"{swept[name].input_line}: {name} should have one value, for the whole sweep")
        if self.file is not None and not swept:
            raise UserError(
                f"sweep={self.file}: expected settings to sweep under hydra.sweeper.params, such as seed: 1,2,3 "
                "(without brackets), and # @package _global_ in the first line, found none"
            )
        count = 1
        for each in swept.values():
            if each.value_type is ValueType.INTERVAL_SWEEP:
                raise UserError(f"{each.input_line}: an interval is no list of values, which a sweep needs")
            values = len(list(itertools.islice(each.sweep_iterator(), MOST + 1)))
            if values == 0:
                raise UserError(f"{each.input_line} has no values, so there is nothing to run")
            count *= values
        if count > MOST:
            raise UserError(f"expected at most {MOST:,} runs in one sweep, got more: divide it into several")
        return list(swept)

    def check_baseline(self, models: set[str], others: set[str]) -> None:
        """Refuse a baseline that is neither a model nor among the values of the settings, with a UserError."""
        baseline, values = self.config.baseline, models | others
        if baseline is None:
            return
        if OmegaConf.is_config(baseline) or all(
            number_or_text(value) != number_or_text(str(baseline)) for value in values
        ):
            hint = nearest(str(baseline), values) or f" (models: {', '.join(sorted(models))})"
            raise UserError(f"baseline should be one of the values that are compared, got {baseline}{hint}")

    def name(self, arguments: list[str], swept: list[str]) -> str:
        """The name of the file or the swept settings, with a digest of all typed words that can change a number."""
        typed = {word: name_in(word) for word in arguments}
        words = sorted(
            word
            for word, name in typed.items()
            if name == "match" or not (name in ("sweep", "launcher") or without_effect(name))
        )
        full = self.file if self.file is not None else "-".join(swept) or "run"
        title = re.sub(r"[^-.\w]", "-", full, flags=re.ASCII).strip(".-")[:80]
        if title == self.file and not words:
            return title
        key = words if self.file is None or title == self.file else [full, *words]  # two files may share a title
        return f"{title}-{digest_of(repr(key).encode())[:8]}"

    def launch(self, runs: list[Run], sweep: Sweep, jobs: int) -> None:
        """Train the runs with another of Hydra's launchers, such as joblib or submitit.

        Raises:
            UserError: the launcher is not installed, or it failed.
        """
        if not runs:
            return
        config = self.config.copy()
        OmegaConf.set_readonly(config.hydra, None)
        config.hydra.sweep.dir = str(sweep.folder)  # where launchers put files of their own
        settings = config.hydra.launcher
        if settings.get("n_jobs") == -1:  # the default of the packages
            settings.n_jobs = jobs
        if "cpus_per_task" in settings and settings.cpus_per_task is None:
            settings.cpus_per_task = max(run.config.threads for run in runs if run.config is not None)
        if "array_parallelism" in settings and self.config.jobs is not None:
            settings.array_parallelism = jobs
        HydraConfig.instance().set_config(config)
        launcher = Plugins.instance().instantiate_launcher(self.context, job, config)
        words = []
        for run in runs:
            assert run.config is not None, "a run without a config has failed"
            assert run.folder is not None, "a run with a config has a folder"
            place = [override("hydra.sweep.dir", run.folder.parent), override("hydra.sweep.subdir", run.folder.name)]
            words.append([*run.overrides, f"threads={run.config.threads}", *place])
            run.state = "running"
        sweep.write()
        try:
            returned = launcher.launch(words, initial_job_idx=0)
        except Exception as error:
            reason = printable(" ".join(str(error).split()), 1000)
            raise UserError(f"hydra/launcher={self.launcher}: {type(error).__name__}: {reason}") from error
        finally:
            for run in runs:
                run.state = "interrupted"
                look(run)
            sweep.write()
        for run, ended in zip(runs, returned, strict=True):
            completed = ended.status is JobStatus.COMPLETED
            state, message = ended.return_value if completed else ("failed", str(ended._return_value))
            if run.state == "interrupted":
                run.state, run.message = ("failed", message) if state == IN_USE else (state, message)
        sweep.write()


def number_or_text(value: str) -> float | str:
    """A value as a number if it is one, so that 1e-3 equals 0.001."""
    try:
        return float(value)
    except ValueError:
        return value


def share_cluster(jobs: Any, runs: list[Run]) -> int:
    """How many runs to train at a time on other machines, whose cores are not known here; by default all.

    Raises:
        UserError: `jobs` is not a positive whole number, or a run has threads=auto.
    """
    if jobs is not None:
        with as_user_errors():
            check_whole("jobs", jobs, 1)
    if any(run.config is not None and run.config.threads == "auto" for run in runs):
        raise UserError("threads should be a number on other machines, which may have other numbers of cores, got auto")
    return jobs or len(runs)
