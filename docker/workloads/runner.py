"""How the programs end: with status 0, or with one line that says what is wrong."""

from __future__ import annotations

import os
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

    SIGTERM ends it as Ctrl-C does, so that nothing unfinished is left behind by either. Who reads
    the output may stop before its end, as head does: that is no error.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 0
    except OSError as error:
        print(f"{name}: {error.strerror or error}", file=sys.stderr)
        _drop_output()
        return 1
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


def _drop_output() -> None:
    """What is still to be written would fail once more at the interpreter's end, and be told."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
