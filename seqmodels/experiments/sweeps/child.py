"""One run in a separate process, which ends when its parent does, as if by SIGTERM.

Its output goes to log.txt in the run folder. A finished run is left alone, and an interrupted one is resumed.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError
from seqmodels.config.compose import checked_config
from seqmodels.config.experiment import claim_of
from seqmodels.config.mistakes import user_errors
from seqmodels.experiments.sweeps.sweep import result_in, without_sweep
from seqmodels.files import FolderInUseError, only_writer
from seqmodels.stops import Stopped, stop_signals

IN_USE = "in use"
"""The state of a run that another process is working on."""


@dataclass(frozen=True)
class Surroundings:
    """What the process of a run inherits from its parent."""

    folder: str
    """The working directory."""
    environment: Mapping[str, str]
    start_method: str
    """How it starts further processes, such as data workers."""

    @classmethod
    def here(cls) -> "Surroundings":
        return cls(str(Path.cwd()), dict(os.environ), multiprocessing.get_start_method())


def work(settings: dict[str, Any], folder: Path, place: Surroundings, sender: Connection) -> None:
    """Train the run with these settings in a folder; send its state and the reason for it."""
    with alone_but_for_the_parent(place), suppress(OSError):
        sender.send(outcome(OmegaConf.create(settings), folder))


def check(settings: list[dict[str, Any]], place: Surroundings, sender: Connection) -> None:
    """Build the parts of each run without training; send a message for each, empty if its settings are right."""
    with alone_but_for_the_parent(place), printing_to(Path(os.devnull)), stop_signals.caught():
        from seqmodels.runs.build import build

        for each in settings:
            message = ""
            try:
                with user_errors():
                    build(OmegaConf.create(each), Path(os.devnull))
            except UserError as error:
                message = str(error)
            except Exception:
                message = ""  # not a user's mistake: the run itself shows the trace
            with suppress(OSError):
                sender.send(message)


def job(config: DictConfig) -> tuple[str, str]:
    """Train the run of a config, as a job of one of Hydra's launchers; return its state and the reason for it."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    config = checked_config(config, "train")
    config.claim = claim_of(config)
    return outcome(without_sweep(config), folder)


@contextmanager
def alone_but_for_the_parent(place: Surroundings) -> Iterator[None]:
    """Run in the surroundings of the parent, but in a new session, until the parent ends.

    In the session of the parent, Ctrl-C would reach this process as well, and the SIGTERM of the parent would then be
    its second signal.
    """
    os.chdir(place.folder)
    os.environ.clear()
    os.environ.update(place.environment)
    # By default it is the one that started this process, and then data workers may outlive a run that is killed.
    multiprocessing.set_start_method(place.start_method, force=True)
    if hasattr(os, "setsid") and os.getsid(0) != os.getpid():
        os.setsid()
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        yield
    finally:
        atexit._run_exitfuncs()  # multiprocessing does not call them, and loggers such as wandb's need them


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process was started by multiprocessing"
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def outcome(config: DictConfig, folder: Path) -> tuple[str, str]:
    """Train the run of a config in a folder; return its state and the reason for it.

    The state is that of a `Run`, or IN_USE.
    """
    try:
        with user_errors():
            folder.mkdir(parents=True, exist_ok=True)
            with only_writer(folder), printing_to(folder / "log.txt"):
                return said(train, config, folder)
    except FolderInUseError as error:
        return IN_USE, str(error)
    except UserError as error:
        return "failed", str(error)


def said(train: Any, config: DictConfig, folder: Path) -> tuple[str, str]:
    """The state of a run after training, and the reason for it, which is also printed."""
    try:
        with stop_signals.caught(), user_errors():
            train(config, folder)
        return "done", ""
    except Stopped as stop:
        state, message = "interrupted", stop.message
    except UserError as error:
        state, message = "failed", str(error)
    except Exception as error:
        from seqmodels.runs.run import described

        traceback.print_exc()
        state, message = "failed", f"the run failed with {described(error)}"
    print(f"error: {message}", file=sys.stderr)
    return state, message


def train(config: DictConfig, folder: Path) -> None:
    """Start or resume the run of a config in a folder, unless it has finished."""
    from seqmodels.runs.build import build
    from seqmodels.runs.resume import check_entries
    from seqmodels.runs.run import run

    begun = (folder / "config.yaml").exists()
    if begun:
        check_entries(folder)
        if result_in(folder, config) is not None:
            return
    run(build(config, folder), folder, begun)


@contextmanager
def printing_to(log: Path) -> Iterator[None]:
    """Append all output of this process to a file, including the output of compiled code."""
    streams = [sys.stdout, sys.stderr]
    kept = [os.dup(number) for number in (1, 2)]
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    for stream in streams:
        stream.flush()
    for number in (1, 2):
        os.dup2(descriptor, number)
    os.close(descriptor)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        sys.stdout, sys.stderr = streams
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
