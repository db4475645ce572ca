"""`seqmodels tune`: search for the settings with the best validation score, of one or several models and tasks."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from seqmodels.checks import UserError, as_user_errors, check_flag, check_whole
from seqmodels.commands.door import command, quick_imports
from seqmodels.config.folders import override
from seqmodels.processes import available_cores
from seqmodels.stops import Stopped
from seqmodels.untrusted.reading import printable

if TYPE_CHECKING:
    from seqmodels.experiments.sweeps.child import Surroundings
    from seqmodels.experiments.tuning.search import Search

SEVERAL = {"model": "models", "task": "tasks"}
"""Groups of which several choices may be typed, and the settings that hold these choices."""

OWN = ("trials", "models", "tasks", "seeds", "prune", "match", "jobs", "folder", "space")
"""The settings of tuning itself; all others are those of train.py."""


def main(words: list[str] | None = None) -> None:
    """Run the command, with model=A,B and task=A,B as short forms of models=[A,B] and tasks=[A,B]."""
    tune([part for word in (sys.argv[1:] if words is None else words) for part in spelt_out(word)])


def spelt_out(word: str) -> list[str]:
    """A word in a form that Hydra accepts: of several models or tasks, the first is chosen, and all are listed."""
    name, _, value = word.partition("=")
    names = [part.strip(" '\"") for part in value.strip("[] ").split(",") if part.strip()]
    if name in SEVERAL and len(names) > 1:
        return [f"{name}={names[0]}", f"{SEVERAL[name]}=[{','.join(names)}]"]
    if name in SEVERAL and names and value.startswith("["):
        return [f"{name}={names[0]}"]
    if name in (*SEVERAL.values(), "seeds") and names and "(" not in value:  # such as range(101,104)
        return [f"{name}=[{','.join(names)}]"]
    return [word]


@command("tune")
def tune(config: DictConfig, folder: Path) -> None:
    if find_spec("optuna") is None:
        raise UserError("seqmodels tune needs Optuna: pip install 'seqmodels[tune]'")
    with quick_imports():
        import pandas as pd

        from seqmodels.experiments.tuning.best import experiment_of
        from seqmodels.experiments.tuning.database import database_errors, open_storage
        from seqmodels.experiments.tuning.search import search_all
        from seqmodels.files import write_whole

    settings, typed = HydraConfig.get(), list(sys.argv[1:])
    check(config)
    root = Path(str(config.folder))
    searches = searches_of(config, settings, root)
    root.mkdir(parents=True, exist_ok=True)
    with database_errors(root):
        storage = open_storage(root)
        for search in searches:
            search.open(storage)
    console = Console(width=None if sys.stdout.isatty() else 160)
    announce(config, searches, console)
    try:
        with others(typed, config.jobs, root):
            search_all(searches, lambda line: print(line, flush=True))
    except Stopped as stop:
        stop.message += f"; the same command continues in {root}"
        raise
    with database_errors(root):
        trials = pd.DataFrame([row for search in searches for row in search.rows()])
        write_whole(root / "trials.csv", trials.to_csv(index=False, lineterminator="\n").encode())
        console.print(table_of(searches))
        (root / "experiment").mkdir(exist_ok=True)
        for search in searches:
            if search.best is not None:
                write_whole(root / "experiment" / f"{search.name}.yaml", experiment_of(search, search.best).encode())
                print(command_for(search, searched(settings)))
        console.print(f"All trials are in [bold]{escape(str(root / 'trials.csv'))}[/bold]", soft_wrap=True)
        without = [f"{search.model} on {search.task}" for search in searches if search.best is None]
    if without:
        raise UserError(f"no trial has finished for {' or for '.join(without)}, so there are no best settings")


def check(config: DictConfig) -> None:
    """Refuse wrong values of the settings."""
    from seqmodels.experiments.sweeps.width import check_match

    check_match(config.match)
    with as_user_errors():
        check_whole("trials", config.trials, 1)
        check_whole("jobs", config.jobs, 1)
        check_flag("prune", config.prune)
        for name in ("seeds", "models", "tasks"):
            several = plain(config[name])
            if name != "seeds" and several is None:
                continue
            if not isinstance(several, list) or not several:
                raise ValueError(f"{name} should be a list with at least one entry, got {several!r}")
            if len(set(map(str, several))) < len(several):
                raise ValueError(f"{name} should all be different, got {several}")
        for seed in config.seeds:
            check_whole("each of seeds", seed, 0)
            if not 100 < seed < 2**32:
                raise ValueError(
                    f"each of seeds should be above 100 and below 2^32, got {seed}: "
                    "results are reported with lower seeds"
                )
        if config.resume is not None:
            raise ValueError("resume= continues a single run; the same tune command continues a search")
        cores, threads = available_cores(), config.threads
        if config.jobs > 1 and (threads == "auto" or config.jobs * threads > cores):
            raise ValueError(
                f"jobs={config.jobs} with threads={threads} needs more than the {cores} cores of this machine"
            )
        if config.trainer.get("devices") != 1:
            raise ValueError(
                f"trainer.devices should be 1, got {config.trainer.get('devices')}: a trial runs in one process"
            )
        if config.folder is None or str(config.folder) == "":
            got = "null" if config.folder is None else "''"
            raise ValueError(f"folder should name a folder to write to, such as outputs/tune/mine, got {got}")
        root = Path(str(config.folder))
        for part in (root, *root.parents):
            if part.exists() and not part.is_dir():
                raise ValueError(f"folder={root}: {part} is a file")
        if "?" in str(root.resolve()):
            raise ValueError(f"folder={root} should not contain a question mark: the database cannot open such a path")


def plain(value: Any) -> Any:
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def searched(settings: Any) -> list[str]:
    """The override that names the config folders given to this command, as a list; empty if there are none."""
    sources = [
        source for source in settings.runtime.config_sources if source.provider not in ("hydra", "main", "schema")
    ]
    folders = [source.path if source.schema == "file" else f"{source.schema}://{source.path}" for source in sources]
    quoted = [override("", folder).removeprefix("=") for folder in folders]
    return [f"hydra.searchpath=[{','.join(quoted)}]"] if folders else []


def searches_of(config: DictConfig, settings: Any, root: Path) -> "list[Search]":
    """A search for each model on each task: all models on the first task, then all models on the next.

    Raises:
        UserError: a setting is wrong for one of them.
    """
    from seqmodels.config import compose
    from seqmodels.config.folders import name_in
    from seqmodels.experiments.sweeps.width import parameters_of
    from seqmodels.experiments.tuning.search import Budget, Search
    from seqmodels.experiments.tuning.space import distributions

    words = [word for word in settings.overrides.task if name_in(word).partition(".")[0] not in OWN]
    for word in words:
        if word.startswith("~"):
            raise UserError(f"{word}: tune cannot leave out a setting, because an experiment cannot do so either")
        if name_in(word) == "seed":
            raise UserError(f"{word}: trials use the tuning seeds, seeds={plain(config.seeds)}")
    space = distributions(settings.runtime.choices.space, plain(config.space))
    if config.match is not None and "model.hidden_size" in space:
        raise UserError("match sets model.hidden_size, which the space searches, too: leave out one of the two")
    budget = Budget(config.trials, tuple(config.seeds), config.prune)
    searches: list[Search] = []
    for task in config.tasks or [None]:
        reference = None if config.match == "parameters" else config.match
        for model in config.models or [None]:
            chosen = {name: value for name, value in {"model": model, "task": task}.items() if value is not None}
            own = [word for word in words if name_in(word) not in chosen]
            own += [f"{name}={value}" for name, value in chosen.items()]
            if config.match == "parameters" and reference is None:
                reference = parameters_of(compose(*own))
            searches.append(Search(own, space, budget, root, reference))
    return searches


def announce(config: DictConfig, searches: "list[Search]", console: Console) -> None:
    from seqmodels.report.tables import counted

    first = searches[0]
    steps = counted(first.config.trainer.max_steps, "step")
    console.print(
        f"{counted(config.trials, 'trial')} for each model on each task, each of at most {steps} "
        f"with {first.budget.seeds_text}, scored on validation alone",
        soft_wrap=True,
    )


@contextmanager
def others(words: list[str], jobs: int, root: Path) -> Iterator[None]:
    """Run `jobs - 1` further processes of the same command, which share the database; they end when this one does."""
    from seqmodels.experiments.sweeps.child import Surroundings
    from seqmodels.experiments.sweeps.jobs import end, shared_environment

    words = [*(word for word in words if not word.startswith("jobs=")), "jobs=1"]
    logs = [root / f"process-{number}.log" for number in range(2, jobs + 1)]
    processes: list[BaseProcess] = []
    try:
        with shared_environment():
            for log in logs:
                log.unlink(missing_ok=True)
                arguments = (words, log, Surroundings.here())
                process: BaseProcess = get_context("spawn").Process(target=work, args=arguments)
                process.start()
                processes.append(process)
        yield
        for process, log in zip(processes, logs, strict=True):
            process.join(60)
            last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:] if log.exists() else []
            if process.exitcode and last:
                print(f"{log}: {printable(last[0])}", file=sys.stderr)
    finally:
        end(processes)


def work(words: list[str], log: Path, place: "Surroundings") -> None:
    """Run the command in a separate process, which prints to a file."""
    from seqmodels.experiments.sweeps.child import alone_but_for_the_parent, printing_to

    with alone_but_for_the_parent(place), printing_to(log):
        main(words)


def table_of(searches: "list[Search]") -> Table:
    """The best trial of each search, and how the others ended."""
    from seqmodels.experiments.tuning.trials import score_of, settings_text
    from seqmodels.report.tables import significant

    table = Table()
    for name in ("task", "model"):
        table.add_column(name)
    for name in ("parameters", "validation"):
        table.add_column(name, justify="right")
    table.add_column("best settings", overflow="fold")
    for name in ("finished", "stopped early", "diverged", "failed"):
        table.add_column(name, justify="right")
    for search in searches:
        best, ends = search.best, [row["end"] for row in search.rows()]
        cells = [search.task, search.model, "", "", ""]
        if best is not None:
            cells[2] = str(search.parameters_of(best))
            cells[3] = f"{search.metric} {significant(score_of(best))}"
            cells[4] = settings_text(search.settings_with_width(best))
        counts = [str(ends.count(name)) for name in ("finished", "stopped early", "diverged", "failed")]
        table.add_row(*map(Text, [*cells, *counts]))
    return table


def command_for(search: "Search", folders: list[str]) -> str:
    """The command that trains with the best settings, with seeds that tuning has not used."""
    program = "python train.py" if Path("train.py").exists() else "seqmodels train"
    own = [shlex.quote(word) for word in folders]
    folder = override("--config-dir", search.root).partition("=")[2]
    return " ".join(
        [
            program,
            "--config-dir",
            shlex.quote(folder.strip('"')),
            f"experiment={search.name}",
            *own,
            "-m 'seed=range(1,6)'",
        ]
    )
