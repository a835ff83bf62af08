"""The flags of commands that have many, and what their values may be."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuron_exporter.config import Given

AWS_DIMENSIONS = {
    "instance_id": "InstanceId",
    "instance_type": "InstanceType",
    "instance_name": "InstanceName",
    "availability_zone": "AvailabilityZone",
    "instance_availability_zone": "AvailabilityZone",
    "region": "Region",
    "instance_region": "Region",
    "subnet_id": "SubnetId",
}
"""What users of AWS's CloudWatch script typed, and the dimension it is here."""

REPLACED = {
    "--cert-file": "TLS is configured with prometheus.web_config_file",
    "--key-file": "TLS is configured with prometheus.web_config_file",
    "--enable-k8s-info": "pods are found with identity.kubernetes",
}


def whole(low: int, high: int) -> Callable[[str], int]:
    """Numbers within these bounds."""

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"must be a number from {low} to {high} (got {text!r})"
            )
        return number

    return parse


class Replaced(argparse.Action):
    """A flag of AWS's scripts that has another place here."""

    def __init__(self, **settings: object) -> None:
        super().__init__(nargs="?", **settings)  # type: ignore[arg-type]

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        flag = str(rest[-1])
        parser.error(f"{flag} is not a flag here: {REPLACED[flag]}")


def task_definition_flags(parser: argparse.ArgumentParser) -> None:
    """Those of `task-definition`."""
    parser.add_argument("--instance-type", metavar="TYPE", required=True)
    parser.add_argument(
        "--with",
        dest="workload",
        choices=("inference", "compile", "none"),
        required=True,
        help="the workload in the same task; a sidecar with none is printed for your own task",
    )
    parser.add_argument(
        "--launch",
        choices=("sidecar", "daemon"),
        required=True,
        help="sidecar: in the task of a workload; daemon: one task for a machine",
    )
    parser.add_argument(
        "--devices",
        metavar="WHICH",
        help="of the machine, as in 0, 0-3, 0,2 or all (needed where there are several)",
    )
    parser.add_argument("--image", metavar="IMAGE", help="the exporter's (default: in your ECR)")
    parser.add_argument(
        "--account",
        metavar="ID",
        default="123456789012",
        help="of roles and ECR (default: nobody's, 123456789012)",
    )
    parser.add_argument(
        "--region",
        metavar="REGION",
        default="us-east-1",
        help="of log, roles and ECR (default: us-east-1)",
    )
    theirs = parser.add_argument_group("of the workload")
    theirs.add_argument("--workload-image", metavar="IMAGE", help="default: AWS's own, by type")
    theirs.add_argument(
        "--command", metavar="WORDS", dest="words", help="what it runs, as in a shell"
    )
    theirs.add_argument(
        "--memory",
        metavar="MIB",
        type=whole(4, 2**24),
        help="hard limit (default: the devices' part of the machine's memory)",
    )


def settings(parsed: argparse.Namespace) -> list[Given]:
    """What the flags say, as values of the configuration."""
    from neuron_exporter.config import Given

    flags = []
    source = parsed.source
    if source in ("stdin", "simulator", "neuron-monitor"):
        flags.append(Given("--source", "source.kind", source))
    elif source is not None:
        flags += [
            Given("--source", "source.kind", "file"),
            Given("--source", "source.path", source),
        ]
    if getattr(parsed, "port", None) is not None:
        flags.append(Given("--port", "prometheus.listen", f"0.0.0.0:{parsed.port}"))
    if getattr(parsed, "listen", None) is not None:
        flags.append(Given("--listen", "prometheus.listen", parsed.listen))
    for name in ("namespace", "region"):
        value = getattr(parsed, name, None)
        if value is not None:
            flags.append(Given(f"--{name}", "cloudwatch.enabled", True))
            flags.append(Given(f"--{name}", f"cloudwatch.{name}", value))
    if getattr(parsed, "common_dims", None) is not None:
        names = [name.strip() for name in parsed.common_dims.split(",") if name.strip()]
        dimensions = list(dict.fromkeys(AWS_DIMENSIONS.get(name, name) for name in names))
        sets = [dimensions] if dimensions else []
        flags.append(Given("--common-dims", "cloudwatch.dimension_sets", sets))
    return flags
