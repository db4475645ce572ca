"""Ctrl-C and SIGTERM: the first ends a run where it can be continued, the second ends it at once.

A command ends with the exit code that shells expect: 130 after Ctrl-C, 143 after SIGTERM, 129 when its terminal closes.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "the end of its terminal"}
SIGNALS = [signal.Signals[name] for name in NAMES if hasattr(signal, name)]  # Windows has no SIGHUP


class Stopped(SystemExit):
    """A signal has ended the program. Its `code` is 128 + the number of the signal."""

    def __init__(self, signum: int, detail: str = "") -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self.message = f"stopped by {NAMES[signal.Signals(signum).name]}{detail}"


class StopSignals:
    """What becomes of the signals: each raises `Stopped`, except where it has to wait."""

    def __init__(self) -> None:
        self.received: int | None = None
        """The signal that waits for an end, if there is one."""
        self.waits = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Receive the signals, except those that whoever started the program wants ignored, as nohup does."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other thread may do this
            before = {number: signal.getsignal(number) for number in SIGNALS}
        ours = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        self.received = None
        for number in ours:
            signal.signal(number, self.receive)
        try:
            yield
        finally:
            for number in ours:
                signal.signal(number, before[number])

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Only note a signal in `received`; whoever trains looks there, and ends when a step is done."""
        self.waits = True
        try:
            yield
        finally:
            self.waits = False
        if self.received is not None:
            raise Stopped(self.received)

    def receive(self, signum: int, frame: Any) -> None:
        if self.received is not None:
            os.write(2, b"error: ended at once\n")
            os._exit(128 + signum)
        self.received = signum
        if not self.waits:
            raise Stopped(signum)


stop_signals = StopSignals()


def ignore_stop_signals(*arguments: Any) -> None:
    """Leave the signals to the main process: for its workers, which a terminal or a scheduler sends them to as well."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
