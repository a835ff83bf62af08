"""How the programs end: with status 0, or with one line that says what is wrong."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

TAG = "NEURON_PROCESS_TAG"
"""By this variable Neuron's runtime has the name under which neuron-monitor, and so the exporter,
shows the process. The runtime reads it when it starts, with the first model that is loaded."""


class Problem(Exception):
    """What is wrong, in one sentence for the user, who sees no traceback."""


def run(name: str, work: Callable[[], None]) -> int:
    """Do a program's work; gives its exit status: 0, or 1 after a line on standard error.

    SIGTERM ends it as Ctrl-C does, so that nothing unfinished is left behind by either.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
    except Problem as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"{name}: {error.name} is not installed", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 1
    return 0
