"""`seqmodels` as a child process that stops, as if by SIGTERM, when its parent ends for any reason.

The parent holds the other end of the standard input, and writes nothing; the system closes it when the parent ends.
"""

import os
import runpy
import signal
import sys
import threading


def end_with_parent() -> None:
    """Wait for the end of the standard input, then end this process."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.argv[0] = "seqmodels"
    runpy.run_module("seqmodels", run_name="__main__", alter_sys=True)
