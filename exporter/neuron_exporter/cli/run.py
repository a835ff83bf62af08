"""`neuron-exporter run`: export metrics until stopped."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from neuron_exporter.cli.common import (
    FAILED,
    PrintVersion,
    add_source_arguments,
    configure_log,
    source_overrides,
    with_all_problems,
)
from neuron_exporter.text import whole

if TYPE_CHECKING:
    from neuron_exporter.config import Override

_AWS_DIMENSIONS = {
    "instance_id": "InstanceId",
    "instance_type": "InstanceType",
    "instance_name": "InstanceName",
    "availability_zone": "AvailabilityZone",
    "instance_availability_zone": "AvailabilityZone",
    "region": "Region",
    "instance_region": "Region",
    "subnet_id": "SubnetId",
}
"""Names that `--common-dims` has in AWS's CloudWatch script, and the dimensions here."""

_PROMETHEUS_FLAGS = {
    "web.listen-address": "prometheus.listen",
    "web.config.file": "prometheus.web_config_file",
    "log.level": "log.level",
    "log.format": "log.format",
}
"""Flags of Prometheus' exporters, and the keys that they set."""

_REPLACED = {
    "--cert-file": "TLS is configured with prometheus.web_config_file",
    "--key-file": "TLS is configured with prometheus.web_config_file",
    "--enable-k8s-info": "pods are found with identity.kubernetes",
}
"""Flags of AWS's scripts that are configuration keys here."""


class _ReplacedFlag(argparse.Action):
    """Error message of a replaced flag."""

    def __call__(self, parser: argparse.ArgumentParser, *rest: object) -> None:
        flag = str(rest[-1])
        parser.error(f"{flag} is not supported: {_REPLACED[flag]}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_source_arguments(parser)
    parser.add_argument("--listen", metavar="HOST:PORT", help="sets prometheus.listen")
    parser.add_argument("--version", action=PrintVersion)
    prometheus = parser.add_argument_group("flags of Prometheus' exporters")
    prometheus.add_argument(
        "--web.listen-address",
        metavar="HOST:PORT",
        action="append",
        help="sets prometheus.listen; repeat it for several addresses",
    )
    prometheus.add_argument(
        "--web.config.file", metavar="FILE", help="sets prometheus.web_config_file"
    )
    prometheus.add_argument(
        "--log.level",
        metavar="LEVEL",
        type=lambda text: "warning" if text == "warn" else text,
        help="sets log.level; warn is warning",
    )
    prometheus.add_argument("--log.format", metavar="FORMAT", help="sets log.format")
    aws = parser.add_argument_group("flags of AWS's scripts")
    aws.add_argument(
        "--port", metavar="PORT", type=whole(0, 65535), help="sets the port of prometheus.listen"
    )
    aws.add_argument(
        "--namespace", metavar="NAME", help="turns CloudWatch on and sets cloudwatch.namespace"
    )
    aws.add_argument(
        "--region", metavar="REGION", help="turns CloudWatch on and sets cloudwatch.region"
    )
    aws.add_argument(
        "--common-dims", metavar="LIST", help="sets cloudwatch.dimension_sets to one set"
    )
    for flag in _REPLACED:
        parser.add_argument(flag, nargs="?", action=_ReplacedFlag, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the daemon."""
    from neuron_exporter.config import ConfigWatcher
    from neuron_exporter.daemon.daemon import Daemon
    from neuron_exporter.pipeline.build import build
    from neuron_exporter.web import BindError

    watcher = ConfigWatcher(args.config, os.environ, overrides(args))
    loaded = with_all_problems(watcher.load)
    configure_log(loaded.config.log)
    try:
        daemon = Daemon(build(loaded), watcher)
    except BindError as error:
        print(f"neuron-exporter: {error} (prometheus.listen, or --listen)", file=sys.stderr)
        return FAILED
    return daemon.run()


def overrides(args: argparse.Namespace) -> list[Override]:
    """Return the configuration values that the flags set."""
    from neuron_exporter.config import Override

    values = source_overrides(args)
    if args.port is not None:
        values.append(Override("--port", "prometheus.listen", f":{args.port}"))
    if args.listen is not None:
        values.append(Override("--listen", "prometheus.listen", args.listen))
    given = vars(args)
    for flag, key in _PROMETHEUS_FLAGS.items():
        if (value := given[flag.replace("-", "_")]) is not None:
            values.append(Override(f"--{flag}", key, value))
    for name in ("namespace", "region"):
        value = getattr(args, name)
        if value is not None:
            values.append(Override(f"--{name}", "cloudwatch.enabled", True))
            values.append(Override(f"--{name}", f"cloudwatch.{name}", value))
    if args.common_dims is not None:
        names = [name.strip() for name in args.common_dims.split(",") if name.strip()]
        dimensions = list(dict.fromkeys(_AWS_DIMENSIONS.get(name, name) for name in names))
        sets = [dimensions] if dimensions else []
        values.append(Override("--common-dims", "cloudwatch.dimension_sets", sets))
    return values
