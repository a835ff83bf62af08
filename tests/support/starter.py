"""A process that starts a `Child`, prints its ID and waits until a test kills it.

    python -m tests.support.starter HOW STEP [STEP ...]

HOW is `main` (the main thread starts it), `thread` (a thread starts it and ends) or `adopt` (like
process 1 of a container it inherits orphans; it stops the child and prints how many remain).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time

from neuron_exporter.source.child import Child
from tests.support.children import FOREVER, child
from tests.support.processes import children_of

_PR_SET_CHILD_SUBREAPER = 36


def starter(how: str, *steps: str) -> list[str]:
    """Return the command, to be run in the folder `ROOT`."""
    return [sys.executable, "-m", "tests.support.starter", how, *steps]


def _start(steps: list[str]) -> Child:
    started = Child(child(*steps), dict(os.environ), lambda _: None)
    os.read(started.stdout, 4096)  # wait for its first output
    print(started.pid, flush=True)
    return started


def main(how: str, steps: list[str]) -> None:
    """Start the child as `how` says."""
    if how == "adopt":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if how == "thread":
        thread = threading.Thread(target=_start, args=(steps,))
        thread.start()
        thread.join()
    else:
        started = _start(steps)
        if how == "adopt":
            started.stop(5)
            print(len(children_of(os.getpid())), flush=True)
    time.sleep(FOREVER)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
