"""Entry point of the program: run a command, handle output errors, and return the exit status."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from neuron_exporter.cli.common import FAILED, OK, WRONG_USE
from neuron_exporter.cli.registry import COMMANDS, load_command, make_parser, make_program_parser
from neuron_exporter.daemon.signals import block_sigusr1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 success, 1 failure, 2 wrong use."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["run"], ["demo"]):
        block_sigusr1()
    _prepare_standard_streams()
    # SIGCHLD may be ignored by inheritance; the exit statuses of children would then be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        try:
            return _run_command(words)
        finally:
            sys.stdout.flush()  # an error at the interpreter's exit could not be handled
    except BrokenPipeError:
        _discard_output()  # the reader of the output is gone
        return OK
    except KeyboardInterrupt:
        return OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        _discard_output()
        print(f"neuron-exporter: the output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED


def _run_command(words: list[str]) -> int:
    name, *rest = words or [""]
    if name not in COMMANDS:
        parser = make_program_parser()
        parser.parse_args(words)
        parser.error("the first argument must be a command")
    if name == "simulate":  # a program of its own: `python -m neuron_exporter.simulator`
        from neuron_exporter.simulator.__main__ import main as simulate

        return simulate(rest)
    args = make_parser(name).parse_args(rest)
    command = load_command(name)
    if name == "healthcheck":  # imports as little as possible, so not the configuration
        return int(command.run(args))
    from neuron_exporter.config import ConfigError

    try:
        return int(command.run(args))
    except ConfigError as error:
        for problem in error.problems:
            print(f"neuron-exporter: {problem}", file=sys.stderr)
        return WRONG_USE


class _StandardError(io.FileIO):
    """Standard error that ignores write errors: they must not affect behaviour or exit status."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _prepare_standard_streams() -> None:
    """Open closed standard streams, so that no other file gets their numbers. Ignore errors of
    encoding, and of writing to standard error."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may be invalid Unicode
    errors = io.BufferedWriter(_StandardError(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(errors, errors="backslashreplace", line_buffering=True)


def _discard_output() -> None:
    """Discard what is still in the buffer of standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    sys.exit(main())
