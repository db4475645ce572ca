"""The processes of a run: the rank of this one, and how the others are started.

Only process 0 writes files and, but for errors of the others, prints. torchrun and srun start every process and number
them by environment variables. Without either, process 0 starts the others, with its own command line and the variables
that torchrun would set.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from seqmodels.checks import UserError, as_user_errors, check_whole
from seqmodels.stops import Stopped, stop_signals

STARTED_BY_US = "SEQMODELS_STARTED"
"""The variable of the processes that process 0 has started, and of itself while they run."""

ENVIRONMENT = dict(os.environ)
"""The environment that this process was started with, before the command line set a variable of Hydra's."""

GRACE = 3
"""Seconds that the other processes wait for process 0 to report a common error and end them."""


def number_of_processes(trainer: Mapping[str, Any]) -> int:
    """`trainer.devices`, on each of `trainer.num_nodes` machines.

    Raises:
        UserError: either is not a positive whole number, or `trainer.strategy` is not DDP.
    """
    devices, nodes, strategy = trainer.get("devices"), trainer.get("num_nodes", 1), trainer.get("strategy", "auto")
    with as_user_errors():
        check_whole("trainer.devices", devices, 1)
        check_whole("trainer.num_nodes", nodes, 1)
    if strategy not in ("auto", "ddp"):
        raise UserError(
            f"trainer.strategy should be 'ddp', got {strategy!r}: each process holds the whole model, "
            "is started by the command line, and computes its part of each batch"
        )
    return devices * nodes


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launcher() -> str | None:
    """What has started the processes: torchrun, srun, process 0 ("seqmodels"), or None if this is the only one."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    if STARTED_BY_US in os.environ:
        return "seqmodels"
    # In a shell within an allocation, SLURM announces tasks that it has not started.
    shell = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    return "srun" if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and not shell else None


def place() -> tuple[int, int]:
    """The rank of this process, and the number of processes that were started."""
    match launcher():
        case None:
            return 0, 1
        case "srun":
            return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def rank_in(trainer: Mapping[str, Any]) -> int:
    """The rank of this process in a run with these settings: 0 in each run of one process that srun starts."""
    one = (trainer.get("devices"), trainer.get("num_nodes", 1)) == (1, 1)
    return 0 if one and launcher() == "srun" else place()[0]


def check_started(trainer: Mapping[str, Any]) -> None:
    """Refuse settings for another number of processes than were started, with a UserError."""
    needed, (_, started), starter = number_of_processes(trainer), place(), launcher()
    if needed == 1 and starter != "torchrun":
        return
    if needed != started:
        what = f"trainer.devices={trainer['devices']} and trainer.num_nodes={trainer.get('num_nodes', 1)}"
        by = (
            f"but {starter} has started {started}"
            if starter
            else "which only the train command, torchrun and srun can start"
        )
        raise UserError(f"{what} need {needed} process{'es' * (needed > 1)}, {by}")


@contextmanager
def all_processes(trainer: Mapping[str, Any]) -> Iterator[int]:
    """Start the other processes of a run, unless they have been started; yields the rank of this one.

    Raises:
        UserError: a setting is wrong, or another number of processes has been started.
    """
    needed = number_of_processes(trainer)
    if launcher() is None and needed > 1:
        if trainer.get("num_nodes", 1) > 1:
            raise UserError("trainer.num_nodes above 1 needs torchrun or srun, as conf/trainer/ddp.yaml shows")
        with others_started(needed):
            yield 0
        return
    rank = rank_in(trainer)
    with led_by_process_0(rank) if rank else nullcontext():
        check_started(trainer)
        yield rank


@contextmanager
def others_started(count: int) -> Iterator[None]:
    """Run as process 0 of `count` on this machine: start the others, and end them on exit."""
    before = os.environ.copy()
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared = address | {"WORLD_SIZE": str(count), "NODE_RANK": "0", STARTED_BY_US: "1"}
    os.environ.update(shared | ranks(0))
    children = [
        subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            env=ENVIRONMENT | shared | ranks(rank),
            stdin=subprocess.PIPE,  # which closes when this process ends, however that happens
            stdout=subprocess.DEVNULL,
            preexec_fn=stop_signals.ignore if os.name == "posix" else None,
        )
        for rank in range(1, count)
    ]
    over = threading.Event()
    for rank, child in enumerate(children, start=1):
        threading.Thread(target=end_after, args=(rank, child, over), daemon=True).start()
    try:
        yield
        for child in children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(60)
    except UserError as error:
        time.sleep(0.5)  # a process that has ended broke the connection, which is all that this one noticed
        for rank, child in enumerate(children, start=1):
            if child.poll():
                raise UserError(f"process {rank} ended with exit code {child.returncode}: {error}") from error
        raise
    finally:
        over.set()
        for child in children:
            child.kill()
            child.wait()
        os.environ.clear()
        os.environ.update(before)


def ranks(rank: int) -> dict[str, str]:
    return {"RANK": str(rank), "LOCAL_RANK": str(rank)}


def free_port() -> int:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return port.getsockname()[1]


def end_after(rank: int, child: subprocess.Popen, over: threading.Event) -> None:
    """End this process if another has failed and it has not noticed within 15 seconds."""
    if child.wait() and not over.wait(5 * GRACE):
        os.write(2, f"error: process {rank} ended with exit code {child.returncode}\n".encode())
        os._exit(1)


@contextmanager
def led_by_process_0(rank: int) -> Iterator[None]:
    """Run as a process other than 0. Process 0 handles signals and reports common errors."""
    stop_signals.ignore()
    if launcher() == "seqmodels":
        threading.Thread(target=end_with_process_0, daemon=True).start()
    try:
        yield
    except Stopped as stop:
        raise SystemExit(stop.code) from stop
    except UserError as error:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(GRACE)
        raise UserError(f"process {rank}: {error}") from error


def end_with_process_0() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)
