"""A process that starts a `Child`, prints its id, and waits: to be killed by a test.

    python -m tests.support.starter HOW STEP [STEP ...]

HOW is `main` (the main thread starts it), `thread` (a thread does, and ends) or `adopt` (as process
1 of a container, it inherits what its children leave behind; it stops the child, then prints which
children it still has).
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
    """The command, to be run in the folder `ROOT`."""
    return [sys.executable, "-m", "tests.support.starter", how, *steps]


def _start(steps: list[str]) -> Child:
    made = Child(child(*steps), dict(os.environ), lambda _: None)
    os.read(made.stdout, 4096)  # it has taken its first step
    print(made.pid, flush=True)
    return made


def main(how: str, steps: list[str]) -> None:
    """Start the child, and do what is asked for."""
    if how == "adopt":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    if how == "thread":
        thread = threading.Thread(target=_start, args=(steps,))
        thread.start()
        thread.join()
    else:
        made = _start(steps)
        if how == "adopt":
            made.stop(5)
            print(len(children_of(os.getpid())), flush=True)
    time.sleep(FOREVER)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
