"""Commands that print a text which another module generates."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from neuron_exporter.cli.common import OK, load_config

if TYPE_CHECKING:
    from neuron_exporter.generate.options import Configure


class Generator(NamedTuple):
    """A command: a function that adds its flags, and one that returns the text."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    generate: Callable[[argparse.Namespace], str]

    def run(self, args: argparse.Namespace) -> int:
        """Print the text."""
        print(self.generate(args), end="")
        return OK


def _add_dry_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, and the machine to compute metrics for."""
    parser.add_argument("--config", metavar="FILE", required=True, help="configuration file (YAML)")
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument(
        "--instance-type",
        metavar="TYPE",
        help="simulated machine (default: identity.instance_type, or trn1.32xlarge)",
    )
    machine.add_argument("--stream", metavar="FILE", help="file of reports, as `record` writes it")


def _explain(line: str) -> None:
    """Print a line about the text on standard error."""
    print(f"neuron-exporter: {line}", file=sys.stderr)


def dry_run_loader(path: str) -> Configure:
    """Return the loader of a configuration, and turn logging off: a dry run prints its result."""
    from neuron_exporter import log

    log.configure("critical")
    return partial(load_config, path)


def _add_config_arguments(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    form.add_argument("--schema", action="store_true", help="print a JSON Schema for editors")


def _config(args: argparse.Namespace) -> str:
    from neuron_exporter.config.reference import as_markdown, as_schema, as_text

    return as_schema() if args.schema else as_markdown() if args.markdown else as_text()


def _add_metrics_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="print METRICS.md")


def _metrics(args: argparse.Namespace) -> str:
    from neuron_exporter.generate.metrics_md import as_markdown, as_text

    return as_markdown() if args.markdown else as_text()


def _add_cost_arguments(parser: argparse.ArgumentParser) -> None:
    from neuron_exporter.text import whole

    _add_dry_run_arguments(parser)
    parser.add_argument(
        "--instances",
        metavar="N",
        type=whole(1, 10**6),
        default=1,
        help="number of machines in the fleet (default 1)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _cost(args: argparse.Namespace) -> str:
    from neuron_exporter.generate.cost.estimate import estimate
    from neuron_exporter.generate.cost.report import as_json, as_text

    result = estimate(dry_run_loader(args.config), args.instance_type, args.stream, args.instances)
    return as_json(result) if args.json else as_text(result)


def _add_alarms_arguments(parser: argparse.ArgumentParser) -> None:
    _add_dry_run_arguments(parser)
    parser.add_argument(
        "--promql",
        action="store_true",
        help="write PromQL alarms on what OTLP delivers instead of alarms on CloudWatch metrics",
    )
    parser.add_argument(
        "--instance-id", metavar="ID", help="write alarms on this machine instead of a fleet"
    )
    parser.add_argument(
        "--without", metavar="NAME", nargs="+", action="extend", default=[], help="omit alarms"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of YAML")


def _alarms(args: argparse.Namespace) -> str:
    from neuron_exporter.generate import as_json
    from neuron_exporter.generate.alarms.alarms import alarms, as_yaml

    if args.promql:
        from neuron_exporter.generate.alarms.promql import promql_alarms

        _refuse_machine(args)
        template = promql_alarms(
            dry_run_loader(args.config), without=args.without, explain=_explain
        )
        return as_json(template) if args.json else as_yaml(template, "alarms --promql")
    template = alarms(
        dry_run_loader(args.config),
        instance_type=args.instance_type,
        stream=args.stream,
        instance_id=args.instance_id,
        without=args.without,
        explain=_explain,
    )
    return as_json(template) if args.json else as_yaml(template)


def _refuse_machine(args: argparse.Namespace) -> None:
    """Refuse options about one machine: PromQL alarms are about all machines, of any type."""
    from neuron_exporter.config import ConfigError

    given = [name for name in ("instance_id", "instance_type", "stream") if vars(args)[name]]
    problems = [
        f"--{name.replace('_', '-')}: must not be set with --promql: its alarms watch all machines"
        for name in given
    ]
    if problems:
        raise ConfigError(problems)


def _add_dashboard_arguments(parser: argparse.ArgumentParser) -> None:
    _add_dry_run_arguments(parser)
    parser.add_argument(
        "--instance-id", metavar="ID", help="show this machine instead of all machines"
    )
    parser.add_argument("--region", metavar="REGION", help="region (default: cloudwatch.region)")


def _dashboard(args: argparse.Namespace) -> str:
    from neuron_exporter.generate import as_json
    from neuron_exporter.generate.dashboard import cloudwatch_dashboard

    body = cloudwatch_dashboard(
        dry_run_loader(args.config),
        instance_type=args.instance_type,
        stream=args.stream,
        instance_id=args.instance_id,
        region=args.region,
    )
    return as_json(body)


def _add_task_definition_arguments(parser: argparse.ArgumentParser) -> None:
    from neuron_exporter.text import whole

    parser.add_argument("--instance-type", metavar="TYPE", required=True, help="EC2 instance type")
    parser.add_argument(
        "--with",
        dest="workload",
        choices=("inference", "compile", "none"),
        required=True,
        help="workload in the same task; `none` with a sidecar prints the part to add to your task",
    )
    parser.add_argument(
        "--launch",
        choices=("sidecar", "daemon", "managed-daemon"),
        required=True,
        help="sidecar: in the task of a workload; daemon: one task per machine; managed-daemon: "
        "the same on ECS Managed Instances",
    )
    parser.add_argument(
        "--devices",
        metavar="WHICH",
        help="devices of the machine: 0, 0-3, 0,2 or all (required if there are several)",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="configuration of the exporter (YAML), which the container gets as variables",
    )
    parser.add_argument(
        "--into",
        metavar="FILE",
        help="your task definition (JSON), to which the sidecar is added; needs `--with none`",
    )
    parser.add_argument(
        "--image", metavar="IMAGE", help="image of the exporter (default: in your ECR)"
    )
    parser.add_argument(
        "--tools",
        choices=("image", "host"),
        default="image",
        help="where neuron-monitor is: in the image, or in /opt/aws/neuron of the machine, for "
        "the image without AWS's tools (default: image)",
    )
    parser.add_argument(
        "--account",
        metavar="ID",
        default="123456789012",
        help="AWS account of the roles and of ECR (default: a placeholder, 123456789012)",
    )
    parser.add_argument(
        "--region",
        metavar="REGION",
        default="us-east-1",
        help="region of logs, roles and ECR (default: us-east-1)",
    )
    workload = parser.add_argument_group("workload")
    workload.add_argument(
        "--workload-image", metavar="IMAGE", help="image (default: AWS's image for the type)"
    )
    workload.add_argument("--command", metavar="WORDS", help="command line, as in a shell")
    workload.add_argument(
        "--memory",
        metavar="MIB",
        dest="memory_mib",
        type=whole(4, 2**24),
        help="hard limit in MiB (default: the devices' share of the machine's memory)",
    )


def _task_definition(args: argparse.Namespace) -> str:
    from neuron_exporter.config import load
    from neuron_exporter.generate import as_json
    from neuron_exporter.generate.ecs.task_definition import task_definition

    options = vars(args)  # the parameters are named like the flags
    path = options.pop("config")
    # Without the variables of this shell, which the container does not have.
    configure = None if path is None else partial(load, path, {})
    definition = task_definition(**options, configure=configure, explain=_explain)
    if args.workload != "none" and args.workload_image is None and args.command is None:
        _explain(
            "warning: AWS's image does not contain the program that this definition runs: set "
            "--workload-image, or --command"
        )
    return as_json(definition)


def _add_instance_types_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; null means unknown")


def _instance_types(args: argparse.Namespace) -> str:
    from neuron_exporter.generate.instance_types import as_json, as_text

    return as_json() if args.json else as_text()


GENERATORS: Mapping[str, Generator] = {
    "config": Generator(_add_config_arguments, _config),
    "metrics": Generator(_add_metrics_arguments, _metrics),
    "cost": Generator(_add_cost_arguments, _cost),
    "alarms": Generator(_add_alarms_arguments, _alarms),
    "cloudwatch-dashboard": Generator(_add_dashboard_arguments, _dashboard),
    "task-definition": Generator(_add_task_definition_arguments, _task_definition),
    "instance-types": Generator(_add_instance_types_arguments, _instance_types),
}
