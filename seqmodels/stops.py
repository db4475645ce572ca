"""Stopping from outside: Ctrl-C, SIGTERM, and a standard output that is closed or full.

After the first signal a run stops where it can be resumed; a second signal stops it immediately. The exit codes are
those that shells expect: 130 after Ctrl-C, 143 after SIGTERM, 129 when the terminal closes.
"""

import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "the closing of its terminal"}
SIGNALS = [signal.Signals[name] for name in NAMES if hasattr(signal, name)]  # Windows has no SIGHUP


class Stopped(SystemExit):
    """A signal has ended the program. Its `code` is 128 + the number of the signal."""

    def __init__(self, signum: int, detail: str = "") -> None:
        super().__init__(128 + signum)
        self.signum = signum
        self.message = f"stopped by {NAMES[signal.Signals(signum).name]}{detail}"


class StopSignals:
    """Handles the stop signals: each raises `Stopped`, at once or, during training, between two steps."""

    def __init__(self) -> None:
        self.received: int | None = None
        """The first signal received, or None."""
        self.waits = False
        self.ours: list[signal.Signals] = []
        """The signals that this object handles."""

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Handle the signals, except those that the parent process set to be ignored, as nohup does."""
        before: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other thread may do this
            before = {number: signal.getsignal(number) for number in SIGNALS}
        self.received = None
        self.ours = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
        self.listen()
        try:
            yield
        except Exception:
            self.check()
            raise
        finally:
            for number in self.ours:
                signal.signal(number, before[number])
            self.ours = []

    def check(self) -> None:
        """Raise `Stopped` if a signal has come, which compiled code may have turned into an error of its own."""
        if self.received is not None:
            raise Stopped(self.received)

    def listen(self) -> None:
        """Install the handlers again after a library has replaced them."""
        for number in self.ours:
            signal.signal(number, self.receive)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Only record a signal in `received`; the training loop checks it between steps.

        Raises `Stopped` on leaving if there was one.
        """
        self.check()
        self.waits = True
        try:
            yield
        finally:
            self.waits = False
        self.check()

    def receive(self, signum: int, frame: Any) -> None:
        if self.received is not None:
            os.write(2, b"error: stopped immediately, without saving\n")
            os._exit(128 + signum)
        self.received = signum
        if not self.waits:
            raise Stopped(signum)

    def ignore(self) -> None:
        """Ignore the signals from now on; another process handles them."""
        self.ours = []
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


stop_signals = StopSignals()


@contextmanager
def output_that_may_end() -> Iterator[None]:
    """End with code 1 where standard output cannot be written, and quietly if it was closed, as by `| head -1`."""
    if sys.stdout is None:  # the shell has closed it, as in `seqmodels tasks >&-`
        sys.stdout = io.StringIO()
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"error: cannot write: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from error
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # Python would try once more at its end, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def obey_the_main_process_only(*arguments: Any) -> None:
    """For data workers: end when the main process says so, and leave all other signals to it.

    A terminal or a scheduler sends a signal to the workers as well, while the main process needs them to finish a step.
    """
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=end_when_told, daemon=True).start()
    else:  # macOS and Windows do not say who has sent a signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def end_when_told() -> None:
    main = multiprocessing.parent_process()
    while True:
        received = signal.sigwaitinfo(SIGNALS)
        if received.si_signo == signal.SIGTERM and main is not None and received.si_pid == main.pid:
            os._exit(0)
