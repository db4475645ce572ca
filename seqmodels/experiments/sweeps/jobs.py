"""Runs in separate processes, several at the same time.

Finished runs are not repeated, interrupted ones are resumed, and none is ever removed. A run that fails does not stop
the others. A run that another process is working on is waited for.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from seqmodels.checks import UserError
from seqmodels.experiments.sweeps.child import IN_USE, Surroundings, check, work
from seqmodels.experiments.sweeps.progress import SweepProgress
from seqmodels.experiments.sweeps.sweep import Run, Sweep, refuse_if_all_failed
from seqmodels.files import FolderInUseError, has_writer, only_writer
from seqmodels.stops import Stopped, stop_signals

PATIENCE = 60
"""Seconds that a run has to save its state before it is killed."""

TICK = 0.25
"""Seconds between two checks for signals, and for runs of other processes that have ended."""


@dataclass
class Going:
    """A run in progress, and its process."""

    run: Run
    process: BaseProcess
    receiver: connection.Connection
    started: float

    def received(self) -> tuple[str, str]:
        """The state that the process has sent, and the reason for it; or, if it sent none, how it ended."""
        try:
            if self.receiver.poll():
                return self.receiver.recv()
        except (OSError, EOFError):
            pass
        code = self.process.exitcode
        ended = f"exit code {code}" if code is None or code >= 0 else f"signal {-code}"
        return "failed", f"its process was ended by {ended}, perhaps for lack of memory (see log.txt)"


def do_missing(
    sweep: Sweep, jobs: int, console: Console, launch: Callable[[list[Run], Sweep, int], None] | None = None
) -> None:
    """Train the runs of a sweep that have not finished, by `launch` if there is one, otherwise in child processes.

    Raises:
        UserError: all runs fail before they start, or the sweep is running already.
    """
    find_finished(sweep)
    missing = [run for run in sweep.runs if run.state not in ("done", "failed")]
    if sweep.count("done"):
        console.print(f"{sweep.count('done')} of {len(sweep.runs)} runs have finished already")
    with shared_environment():
        if missing and launch is None:
            find_mistakes(missing, jobs)
            refuse_if_all_failed(sweep.runs)
        with own_folder(sweep):
            if launch is None:
                run_all(sweep, jobs, SweepProgress(sweep, jobs, console))
            else:
                launch(missing, sweep, jobs)


@contextmanager
def own_folder(sweep: Sweep) -> Iterator[None]:
    """Create the folder of a sweep, and lock it.

    Raises:
        UserError: it cannot be created, or the sweep is running already.
    """
    try:
        sweep.folder.mkdir(parents=True, exist_ok=True)
        with only_writer(sweep.folder):
            yield
    except FolderInUseError as error:
        raise UserError(f"this sweep is already running in another process ({sweep.folder})") from error


def find_finished(sweep: Sweep) -> None:
    """Update the states of the runs from their folders."""
    for run in sweep.runs:
        if run.config is not None:
            look(run)


def look(run: Run) -> bool:
    """Update the state of a run from its folder; return whether it is done or has failed."""
    try:
        if run.result() is not None:
            run.state, run.message = "done", ""
    except UserError as error:
        run.state, run.message = "failed", str(error)
    return run.state in ("done", "failed")


def find_mistakes(runs: list[Run], jobs: int) -> None:
    """Build the parts of each run before the first one starts; runs with wrong settings fail at once.

    Of runs that differ only in the seed, one is built.
    """
    distinct: dict[str, list[Run]] = {}
    for run in runs:
        settings: Any = OmegaConf.to_container(run.config)
        seed = settings.pop("seed")
        key = repr(settings) if type(seed) is int and 0 <= seed < 2**32 else repr((settings, seed))
        distinct.setdefault(key, []).append(run)
    groups = list(distinct.values())
    with stop_signals.waiting():
        context, checks = context_for(accelerators_of(runs)), []
        try:
            for part in (groups[start::jobs] for start in range(min(jobs, len(groups)))):
                receiver, sender = context.Pipe(duplex=False)
                settings = [OmegaConf.to_container(group[0].config) for group in part]
                process = context.Process(target=check, args=(settings, Surroundings.here(), sender))
                process.start()
                sender.close()
                checks.append((part, process, receiver))
            for part, process, receiver in checks:
                for group in part:
                    while not receiver.poll(TICK) and process.is_alive() and stop_signals.received is None:
                        pass
                    try:
                        message = receiver.recv() if receiver.poll() else ""
                    except (OSError, EOFError):  # the process was killed; the runs themselves will show the reason
                        message = ""
                    for run in group:
                        run.state, run.message = ("failed", message) if message else (run.state, "")
        finally:
            end([process for _, process, _ in checks])


def run_all(sweep: Sweep, jobs: int, progress: SweepProgress) -> None:
    """Train the runs of a sweep that are neither done nor failed, `jobs` at a time.

    Raises:
        Stopped: a signal has arrived, and the running runs have saved their state.
    """
    waiting = [run for run in sweep.runs if run.state not in ("done", "failed")]
    for run in waiting:
        run.state, run.message = "waiting", ""
    going: list[Going] = []
    with stop_signals.waiting(), progress:
        context = context_for(accelerators_of(waiting))
        try:
            sweep.write()
            while (waiting or going) and stop_signals.received is None:
                for run in waiting.copy():
                    if len(going) == jobs:
                        break
                    assert run.folder is not None, "a run without a folder has failed"
                    if not has_writer(run.folder):
                        waiting.remove(run)
                        if look(run):
                            progress.ended(run)
                        else:
                            going.append(start(run, context))
                        sweep.write()
                connection.wait([one.process.sentinel for one in going], TICK) if going else time.sleep(TICK)
                for one in going.copy():
                    overdue = one.run.minutes is not None and time.monotonic() - one.started > 60 * one.run.minutes
                    if overdue:
                        end([one.process])
                    if not one.process.is_alive():
                        going.remove(one)
                        settle(one, sweep, overdue)
                        if one.run.state == "waiting":
                            waiting.append(one.run)
                        else:
                            progress.ended(one.run)
                        sweep.write()
                progress.show()
        finally:
            if going:
                progress.stopping(len(going))
            end([one.process for one in going])
            for one in going:
                settle(one, sweep)
                if one.run.state == "interrupted" and stop_signals.received is not None:
                    one.run.message = Stopped(stop_signals.received).message  # and not SIGTERM, by which we stopped it
            sweep.write()


def start(run: Run, context: Any) -> Going:
    """Start the process of a run."""
    receiver, sender = context.Pipe(duplex=False)
    settings = OmegaConf.to_container(run.config)
    process = context.Process(target=work, args=(settings, run.folder, Surroundings.here(), sender))
    process.start()
    sender.close()
    run.state = "running"
    return Going(run, process, receiver, time.monotonic())


def settle(ended: Going, sweep: Sweep, overdue: bool = False) -> None:
    """Update the state of a run whose process has ended."""
    run, seconds = ended.run, time.monotonic() - ended.started
    state, message = ended.received()
    ended.receiver.close()
    if state == IN_USE:
        run.state = "waiting"
        return
    run.state, run.message = state, message
    if overdue:
        run.state, run.message = "failed", f"stopped after {run.minutes:g} minutes; the same command resumes it"
    if look(run) and run.state == "done":
        sweep.seconds[run.name] = seconds


def end(processes: list[BaseProcess]) -> None:
    """Ask processes to end, and kill those that have not ended after a minute."""
    for process in processes:
        process.terminate()
    last = time.monotonic() + PATIENCE
    try:
        for process in processes:
            process.join(max(0, last - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.join()


def accelerators_of(runs: list[Run]) -> set[Any]:
    return {run.config.trainer.get("accelerator") for run in runs if run.config is not None}


def context_for(accelerators: set[Any]) -> Any:
    """How processes are started: on Linux by forking one that has imported everything, which saves four seconds each.

    A forked process cannot use a GPU that its parent has used, and forking is not safe on macOS and not possible on
    Windows; in these cases, each process is started anew.
    """
    if sys.platform != "linux" or accelerators != {"cpu"}:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["seqmodels.experiments.sweeps.preload"])
    return context


def start_imports(accelerator: Any) -> None:
    """Let the process that is forked import everything, while this one goes on."""
    with shared_environment():
        if context_for({accelerator}).get_start_method() == "forkserver":
            forkserver.ensure_running()


@contextmanager
def shared_environment() -> Iterator[None]:
    """Set the environment of child processes: the module path of this process, and one thread for each library.

    NumPy's libraries, for example, would otherwise start a thread for each core. The number of torch's threads is a
    setting of each run.
    """
    changed = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    changed["PYTHONPATH"] = os.pathsep.join(str(Path(folder).absolute()) for folder in sys.path)
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
