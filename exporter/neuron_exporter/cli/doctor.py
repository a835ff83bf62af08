"""`neuron-exporter doctor`: diagnose problems on this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from typing import TYPE_CHECKING

from neuron_exporter.text import format_duration, parse_duration, safe_message

if TYPE_CHECKING:
    from neuron_exporter.doctor.context import RunArguments

_UNKNOWN = 2
"""Exit status of `--check` if the health is unknown (`Health.UNKNOWN`)."""

_DEFAULT_DURATION = 15 * 60.0
_MIN_DURATION, _MAX_DURATION = 1.0, 86400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", help="configuration file (default: that of the exporter here)"
    )
    parser.add_argument(
        "--check",
        metavar="NAME",
        action="append",
        help="check this subject only, such as devices, and print one line for a health checker; "
        "repeatable. Exit status: 0 healthy, 1 problem, 2 unknown",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--send", action="store_true", help="send one datum (DoctorTest, billed) to CloudWatch"
    )
    parser.add_argument("--bundle", metavar="FILE", help="write a support bundle (.tar.gz)")
    acceptance = parser.add_argument_group("the first machine of a kind")
    acceptance.add_argument(
        "--acceptance",
        action="store_true",
        help="read reports for a time, compare them with neuron-ls, /dev and /sys, and print which "
        "assumptions of the exporter hold on this machine",
    )
    acceptance.add_argument(
        "--duration",
        metavar="TIME",
        type=_duration,
        help="how long to read reports: 90s, 15m, 1h (default 15m)",
    )
    acceptance.add_argument(
        "--output",
        metavar="FILE",
        help="new file for the masked reports, compressed if its name ends in .gz (default: one "
        "among the temporary files)",
    )
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """Run the checks or the acceptance, and print the results."""
    _check_combination(args)
    if args.acceptance:
        from neuron_exporter.doctor.acceptance.command import run_acceptance

        return run_acceptance(
            args.config,
            os.environ,
            _parse_run,
            seconds=args.duration or _DEFAULT_DURATION,
            output=args.output,
            json=args.json,
        )
    if args.check:
        status, line = _check_health(args)
        print(line)
        return status
    from neuron_exporter.doctor.runner import run_doctor

    return run_doctor(
        args.config, os.environ, _parse_run, json=args.json, send=args.send, bundle=args.bundle
    )


def _check_combination(args: argparse.Namespace) -> None:
    """Exit with status 2 if a flag does not belong to the others."""
    without_extras = "--acceptance" if args.acceptance else "--check" if args.check else ""
    if without_extras and (args.send or args.bundle is not None):
        args.parser.error(f"{without_extras}: must not be combined with --send or --bundle")
    if args.acceptance and args.check:
        args.parser.error("--check: must not be combined with --acceptance")
    if not args.acceptance:
        for flag in ("duration", "output"):
            if getattr(args, flag) is not None:
                args.parser.error(f"--{flag}: is allowed with --acceptance only")


def _check_health(args: argparse.Namespace) -> tuple[int, str]:
    """Return the exit status and the line for a health checker.

    Python ends with status 1 after an uncaught exception, also after a failed import. Here, that
    would be a problem, for which a health checker drains the machine.
    """
    try:
        from neuron_exporter.doctor.health import check_health
        from neuron_exporter.doctor.runner import CHECKS

        names = [check.subject for check in CHECKS]
        for name in args.check:
            if name not in names:
                allowed = ", ".join(names)
                args.parser.error(f"argument --check: must be one of {allowed} (got {name!r})")
        return check_health(args.check, args.config, os.environ, _parse_run, json=args.json)
    except Exception as error:  # noqa: BLE001 (as above)
        return _UNKNOWN, f"unknown: the doctor itself failed: {safe_message(repr(error))}"


def _duration(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error} (got {text!r})") from None
    if not _MIN_DURATION <= seconds <= _MAX_DURATION:
        low, high = format_duration(_MIN_DURATION), format_duration(_MAX_DURATION)
        raise argparse.ArgumentTypeError(f"must be from {low} to {high} (got {text!r})")
    return seconds


def _parse_run(words: Sequence[str]) -> RunArguments | None:
    """Parse the arguments of a running exporter; None if this version does not accept them."""
    from neuron_exporter.cli.registry import make_parser
    from neuron_exporter.cli.run import overrides
    from neuron_exporter.doctor.context import RunArguments

    try:
        with redirect_stderr(StringIO()):
            args = make_parser("run").parse_args(words)
    except SystemExit:
        return None
    return RunArguments(args.config, overrides(args))
