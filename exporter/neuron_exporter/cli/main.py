"""Entry point of the program: run a command, handle output errors, and return the exit status."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence

from neuron_exporter.daemon.signals import end_on_sigterm_as_process_1, handle_during_start


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0 success, 1 failure, 2 wrong use."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["run"], ["demo"]):
        handle_during_start()  # before the other imports
        from neuron_exporter.malloc import use_one_arena

        use_one_arena()
    else:
        end_on_sigterm_as_process_1()
    from neuron_exporter.cli.common import FAILED, OK
    from neuron_exporter.output import discard_standard_output, prepare_standard_streams

    prepare_standard_streams()
    # SIGCHLD may be ignored by inheritance; the exit statuses of children would then be lost.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        try:
            return _run_command(words)
        finally:
            sys.stdout.flush()  # an error at the interpreter's exit could not be handled
    except BrokenPipeError:
        discard_standard_output()  # the reader of the output is gone
        return OK
    except KeyboardInterrupt:
        return OK
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        discard_standard_output()
        print(f"neuron-exporter: the output cannot be written: {error.strerror}", file=sys.stderr)
        return FAILED


def _run_command(words: list[str]) -> int:
    from neuron_exporter.cli.common import WRONG_USE
    from neuron_exporter.cli.registry import (
        COMMANDS,
        load_command,
        make_parser,
        make_program_parser,
    )

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
    from neuron_exporter.proxies import exempt_local_services

    exempt_local_services(os.environ)
    try:
        return int(command.run(args))
    except ConfigError as error:
        lines = "\n".join(f"neuron-exporter: {problem}" for problem in error.problems)
        print(lines, file=sys.stderr)
        return WRONG_USE


if __name__ == "__main__":
    sys.exit(main())
