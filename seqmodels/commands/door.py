"""The entry to every command: a verb, key=value words for Hydra, and one line for each mistake.

The config of a verb is conf/<verb>.yaml. A `UserError` is printed and ends in exit code 1; with HYDRA_FULL_ERROR=1 its
stack trace follows.
"""

import gc
import io
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from seqmodels import __version__
from seqmodels.checks import UserError, nearest
from seqmodels.commands.help import page
from seqmodels.config.compose import WITHOUT_SETTINGS, checked_config, settings_and_groups
from seqmodels.config.folders import CONF, check_config_dir, check_folders, override
from seqmodels.config.mistakes import user_errors
from seqmodels.stops import Stopped, output_that_may_end, stop_signals

FULL_ERROR = "HYDRA_FULL_ERROR"


class Command:
    """A verb: `function(config, folder)`, called with words from the command line.

    `folder` is where the run may write. It exists, and is removed again if a mistake leaves it empty.
    """

    def __init__(
        self,
        verb: str,
        function: Callable[[DictConfig, Path], Any],
        named: bool,
        lists: tuple[str, ...],
        sweeps: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.verb = verb
        self.function = function
        self.named = named
        self.lists = lists
        self.sweeps = sweeps

    def __call__(self, words: list[str] | None = None) -> None:
        """Run the command on `words`, those of the command line if None; a mistake raises SystemExit(1)."""
        for stream in (sys.stdout, sys.stderr):  # a terminal without these characters shows others in their place
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        self.mistakes: list[UserError] = []
        self.started = time.time()
        self.started_jobs = 0
        try:
            with output_that_may_end(), stop_signals.caught(), user_errors(), exceptions_let_through(), self.sweeps():
                sys.argv[1:] = self.ordered(sys.argv[1:] if words is None else words)
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=self.verb)(self.job)()
        except UserError as error:
            print_error(error)
            self.mistakes.append(error)
        except ValueError as error:
            if self.started_jobs:
                raise
            print_error(UserError(str(error)))  # Hydra's, about its options
            self.mistakes.append(UserError(str(error)))
        except Stopped as stop:
            if not self.started_jobs and HydraConfig.initialized():
                folder = Path(HydraConfig.get().runtime.output_dir)  # which Hydra may just have made
                if folder.exists() and self.made(folder):
                    remove_if_empty(folder)
            print_error(UserError(stop.message))
            raise
        if self.mistakes:
            raise self.mistakes[0] if os.environ.get(FULL_ERROR) == "1" else SystemExit(1)

    def ordered(self, words: list[str]) -> list[str]:
        """The words, Hydra's options before its overrides, once both have been checked.

        Raises:
            UserError: an option is unknown, or an override is not of the form key=value.
        """
        if "--version" in words:
            print(f"seqmodels {__version__}")
            raise SystemExit(0)
        parser = get_args_parser()  # Hydra's own, which knows its options; its usage message would not help
        parser.error = refuse  # type: ignore[method-assign]
        arguments = parser.parse_intermixed_args(words)
        if arguments.multirun and self.sweeps is nullcontext:
            raise UserError(f"-m starts several runs, and {self.verb} starts none")
        if arguments.config_dir is not None:
            check_config_dir(Path(arguments.config_dir))
        options, overrides = list(words), arguments.overrides
        for word in overrides:
            options.remove(word)
        if self.sweeps is not nullcontext and any(re.fullmatch("sweep=(?!null$).+", word) for word in overrides):
            options += ["-m"] * (not arguments.multirun)
        if self.named:
            bare = [word for word in overrides if "=" not in word and not word.startswith("~")]
            names = ",".join(override("", word).removeprefix("=") for word in bare)
            overrides = [word for word in overrides if word not in bare] + [f"name=[{names}]"] * bool(bare)
        for number, word in enumerate(overrides):  # Hydra would read a list without brackets as several runs
            name, _, value = word.partition("=")
            if name in self.lists and value and value[0] not in "['\"":
                overrides[number] = f"{name}=[{value}]"
        check_words(overrides, self.verb)
        if arguments.help:
            program = "python train.py" if Path(sys.argv[0]).name == "train.py" else f"seqmodels {self.verb}"
            print(page(self.verb, program, overrides, arguments.config_dir))
            raise SystemExit(0)
        return options + overrides

    def made(self, folder: Path) -> bool:
        """Whether a folder that nobody has written to yet is of this command."""
        return folder.stat().st_mtime >= self.started

    def job(self, config: DictConfig) -> None:
        """One run; of a sweep, one of several."""
        settings: Any = HydraConfig.get()
        folder = Path(settings.runtime.output_dir)
        made = self.made(folder)
        try:
            self.started_jobs += 1
            with user_errors():
                check_folders(settings)
                self.function(checked_config(config, self.verb), folder)
        except UserError as error:
            stop_signals.check()
            # Reported here, so that the other runs of a sweep still start.
            sweep = settings.mode == RunMode.MULTIRUN
            print_error(error, " ".join(settings.overrides.task) if sweep else "")
            self.mistakes.append(error)
        finally:
            if made:
                remove_if_empty(folder)


def command(
    verb: str,
    named: bool = False,
    lists: tuple[str, ...] = (),
    sweeps: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Callable[[Callable[[DictConfig, Path], Any]], Command]:
    """Decorate `function(config, folder)` to be the command that conf/<verb>.yaml configures.

    With `named`, words without a value are a list of names: `seqmodels layers lru` is `seqmodels layers name=[lru]`.
    The settings in `lists` may be typed without brackets: `by=model,task` is `by=[model,task]`.
    `sweeps()` returns a context in which Hydra has a sweeper for `-m`; without one, `-m` is refused.
    """
    return lambda function: Command(verb, function, named, lists, sweeps)


def check_words(words: list[str], verb: str) -> None:
    """Refuse overrides that make no sense although Hydra would accept them, or whose message from Hydra is unclear."""
    settings, groups = settings_and_groups(verb)
    for word in words:
        name, _, value = word.lstrip("+~").partition("=")
        if word.startswith("~") and "." not in name:
            known = name in settings | groups
            raise UserError(f"{word}: {name} cannot be left out" if known else unknown(name, settings))
        folder = value.strip("'\"")
        if verb == "train" and name == "resume" and folder != "null" and not set("\\$") & set(folder):
            check_run(Path(folder))  # before Hydra makes the folder
        if "=" not in word and not word.startswith("~"):
            hint = [f"{group}={word}" for group in sorted(groups) if (CONF / group / f"{word}.yaml").exists()]
            hint = hint or [f"{setting}={word}" for setting in ["folder"] if setting in settings] or [f"{word}=..."]
            raise UserError(f"{word} should be a setting with its value, such as {hint[0]}, or an option (see --help)")
        if name in (*groups, *WITHOUT_SETTINGS) and (not value or value[0] in "[{" or value == "null"):
            raise UserError(f"{word}: {name} should be one name (--help lists them)")
        if name in ("hydra.mode", "sweep", "launcher") and verb != "train":
            raise UserError(f"{word}: {verb} starts no runs")
        if name in ("model_name", "task_name"):
            raise UserError(f"{word}: {name} follows from {name.removesuffix('_name')}, and cannot be set")


def check_run(folder: Path) -> None:
    """Refuse a folder in which no run has begun, with a UserError."""
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume={folder}: there is no config.yaml, so no run has begun there")


def unknown(name: str, settings: Collection[str]) -> str:
    return f"{name} is not a setting{nearest(name, settings)}"


def refuse(message: str) -> NoReturn:
    raise UserError(f"{message} (--help shows the options)")


@contextmanager
def exceptions_let_through() -> Iterator[None]:
    """Make Hydra raise its errors rather than print them, by its own switch."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        os.environ.pop(FULL_ERROR)
        if before is not None:
            os.environ[FULL_ERROR] = before


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import without garbage collection: torch and Lightning make a million objects, and all of them stay.

    It saves a second of five while they are imported. Freezing them saves a third of a second of training, in which the
    collector would go through them once.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def print_error(error: UserError, run: str = "") -> None:
    print(f"error: {f'[{run}] ' if run else ''}{error}", file=sys.stderr)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder if it is empty; then its parents, up to the working directory."""
    here = Path.cwd()
    for candidate in (folder.resolve(), *folder.resolve().parents):
        inside = here in candidate.parents
        if candidate == here or not candidate.is_dir() or any(candidate.iterdir()):
            return
        if not (inside or candidate == folder.resolve()):
            return
        candidate.rmdir()
