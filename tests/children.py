"""The processes of runs: found by the log that each has as its standard output."""

import os
import time
from pathlib import Path


def processes_below(folder):
    """The processes whose standard output is a file below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "fd" / "1")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def until(condition, seconds=120):
    """Wait until a condition holds."""
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last, "it took too long"
        time.sleep(0.05)
