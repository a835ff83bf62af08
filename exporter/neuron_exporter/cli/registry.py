"""The commands of the program.

A command NAME is a row of `cli/generators.py`, or the module `cli/NAME.py` with two functions:
`add_arguments(parser)` adds its flags, and `run(args)` runs it and returns the exit status. All
other modules are imported when a command runs, so that help and errors are quick.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType

from neuron_exporter import __doc__ as description
from neuron_exporter.cli.common import PrintVersion
from neuron_exporter.cli.generators import GENERATORS, Generator

COMMANDS: Mapping[str, str] = {
    "run": "export metrics until stopped",
    "demo": "run the exporter on a simulated machine",
    "check": "check a configuration and list all its errors",
    "config": "list all configuration keys, or print their JSON Schema",
    "metrics": "list all metrics",
    "cost": "estimate the CloudWatch cost of a configuration",
    "alarms": "write a CloudFormation template with alarms on the published metrics",
    "cloudwatch-dashboard": "write a CloudWatch dashboard of the published metrics",
    "task-definition": "write an ECS task definition that contains the exporter",
    "instance-types": "list the instance types with Neuron devices",
    "doctor": "diagnose problems on this machine and suggest fixes",
    "simulate": "write reports in neuron-monitor's format, without hardware",
    "healthcheck": "check the health of the exporter in this container",
    "record": "record the source's lines to a file for replay",
}
"""Names and help texts, in the order of `--help`."""

_DETAILS: Mapping[str, str] = {
    "run": "Runs neuron-monitor, serves its readings to Prometheus, and sends them to CloudWatch "
    "if that is enabled. SIGTERM stops it, SIGHUP reloads the configuration, SIGUSR1 pauses and "
    "resumes neuron-monitor. Exit status: 0 stopped or end of input, 1 failure, 2 wrong use or "
    "invalid configuration.",
    "demo": "Serves the page and the metrics, and prints the CloudWatch metrics instead of sending "
    "them. It needs neither hardware nor an AWS account.",
    "check": "Prints warnings, what a valid configuration publishes, and what that costs. Exit "
    "status: 0 valid, 2 invalid or, with --strict, valid with warnings.",
    "cost": "Runs the configuration for a simulated or recorded machine, counts the metrics, and "
    "prices them by CloudWatch's public list prices. Nothing is sent.",
    "alarms": "Runs the configuration for a simulated or recorded machine, and writes alarms for "
    "the series that it publishes, with the same names and dimensions.",
    "task-definition": "The definition is JSON for `aws ecs register-task-definition "
    "--cli-input-json`, with --launch managed-daemon for `register-daemon-task-definition`. With a "
    "workload, the exporter is a non-essential container beside it.",
}
"""What a command does beyond its help text, for its own `--help`."""


def make_program_parser() -> argparse.ArgumentParser:
    """Build the parser of a command line without a command."""
    parser = argparse.ArgumentParser(
        prog="neuron-exporter",
        description=description,
        epilog="`neuron-exporter COMMAND --help` describes a command.",
    )
    parser.add_argument("--version", action=PrintVersion)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def make_parser(name: str) -> argparse.ArgumentParser:
    """Build the parser of a command. `simulate` has its own, in `simulator/options.py`."""
    command = load_command(name)
    text = COMMANDS[name]
    details = f" {_DETAILS[name]}" if name in _DETAILS else ""
    parser = argparse.ArgumentParser(
        prog=f"neuron-exporter {name}",
        description=f"{text[0].upper()}{text[1:]}.{details}",
        formatter_class=getattr(command, "HELP_FORMATTER", argparse.HelpFormatter),
    )
    command.add_arguments(parser)
    return parser


def load_command(name: str) -> ModuleType | Generator:
    """Return a command; import its module if it has one."""
    return GENERATORS.get(name) or import_module(f"neuron_exporter.cli.{name}")
