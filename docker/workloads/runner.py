"""Common behaviour of the programs: flags, exit status, one-line errors, and signals."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

TAG = "NEURON_PROCESS_TAG"
"""Environment variable with the process's name in neuron-monitor, and so in the exporter. Neuron's
runtime reads it when it starts, which is when the first model is loaded."""


class UserError(Exception):
    """An error that the user can correct, described in one line."""


def run(name: str, work: Callable[[], None]) -> int:
    """Run a program and return its exit status: 0, or 1 after one line on standard error.

    SIGTERM interrupts the program like Ctrl-C, so that temporary files are removed. A closed
    standard output, as with `| head`, is not an error.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        work()
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return 0
    except OSError as error:
        print(f"{name}: {error.strerror or error}", file=sys.stderr)
        _discard_output()
        return 1
    except UserError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"{name}: {error.name} is not installed", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 1
    return 0


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a type of flags: an integer within limits."""

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be an integer from {low} to {high} (got {text!r})"
            )
        return number

    return parse


def _discard_output() -> None:
    """Discard buffered output, which the interpreter would otherwise fail to flush at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
