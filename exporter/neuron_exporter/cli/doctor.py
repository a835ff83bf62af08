"""`neuron-exporter doctor`: diagnose problems on this machine."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuron_exporter.doctor.context import RunArguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", metavar="FILE", help="configuration file (default: that of the exporter here)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--send", action="store_true", help="send one datum (DoctorTest, billed) to CloudWatch"
    )
    parser.add_argument("--bundle", metavar="FILE", help="write a support bundle (.tar.gz)")


def run(args: argparse.Namespace) -> int:
    """Run the checks and print the findings."""
    from neuron_exporter.doctor.runner import run_doctor

    return run_doctor(
        args.config, os.environ, _parse_run, json=args.json, send=args.send, bundle=args.bundle
    )


def _parse_run(words: Sequence[str]) -> RunArguments | None:
    """Parse the arguments of a running exporter; None if this version does not accept them."""
    from neuron_exporter.cli.registry import make_parser
    from neuron_exporter.cli.run import overrides
    from neuron_exporter.doctor.context import RunArguments

    try:
        args = make_parser("run").parse_args(words)
    except SystemExit:
        return None
    return RunArguments(args.config, overrides(args))
