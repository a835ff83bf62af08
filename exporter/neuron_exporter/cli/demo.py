"""`neuron-exporter demo`: run the exporter on a simulated machine."""

from __future__ import annotations

import argparse
import sys
import tempfile

from neuron_exporter.cli.common import FAILED, configure_log
from neuron_exporter.run_directory import TEMPORARY

FLUSH_SECONDS = 10
STOP_SECONDS = 1.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="127.0.0.1:9415", help="default: 127.0.0.1:9415"
    )
    parser.add_argument(
        "--instance-type", metavar="TYPE", default="trn1.32xlarge", help="default: trn1.32xlarge"
    )
    parser.add_argument(
        "--scenario",
        default="inference",
        help="idle, inference (the default), training, compile, mixed or long-executions",
    )


def run(args: argparse.Namespace) -> int:
    """Run the demonstration until a signal.

    Raises:
        ConfigError: a flag is invalid.
    """
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as driver:
        return _run(args, driver)


def _run(args: argparse.Namespace, driver: str) -> int:
    from neuron_exporter import __version__
    from neuron_exporter.cli.printing_transport import PrintingTransport
    from neuron_exporter.config import ConfigError, Override, load, suggest
    from neuron_exporter.daemon.daemon import Daemon
    from neuron_exporter.facts.instance_types import INSTANCE_TYPES
    from neuron_exporter.generate.options import check_type
    from neuron_exporter.pipeline.build import build
    from neuron_exporter.pipeline.source import SIMULATOR
    from neuron_exporter.simulator.scenarios import SCENARIOS
    from neuron_exporter.web import BindError, Server

    instance_type, scenario = args.instance_type, args.scenario
    problems: list[str] = []
    try:
        check_type(instance_type)
    except ConfigError as error:
        problems += error.problems
    if scenario not in SCENARIOS:
        hint = suggest(scenario, SCENARIOS)
        problems.append(f"--scenario: unknown scenario; {hint} (got {scenario!r})")
    command = [*SIMULATOR, "--instance-type", instance_type, "--scenario", scenario]
    row = INSTANCE_TYPES.get(instance_type)
    if row is not None and row.accelerator != "inferentia":  # whose driver has other files
        command += ["--sysfs", driver]
    settings = {
        "source.command": command,
        "hardware.sysfs": driver,
        "source.period": "1s",
        "cloudwatch.enabled": True,
        "cloudwatch.flush_interval": f"{FLUSH_SECONDS}s",
        "cloudwatch.spool.path": None,
        "identity.imds": False,  # the identity is that of the simulated machine
        "identity.ecs": False,
        "log.level": "warning",
    }
    flags = [Override("demo", key, value) for key, value in settings.items()]
    try:
        loaded = load(flags=[*flags, Override("--listen", "prometheus.listen", args.listen)])
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    configure_log(loaded.config.log)
    transport = PrintingTransport()
    pipeline = build(loaded, environment={}, connect=lambda _: transport)

    def introduce(server: Server) -> None:
        transport.print(
            f"Neuron Exporter {__version__} on a simulated {instance_type}: "
            f"{SCENARIOS[scenario].runtimes} runtimes, scenario {scenario}\n\n"
            f"  page      {server.url}/\n"
            f"  metrics   {server.url}/metrics\n\n"
            f"Every {FLUSH_SECONDS} s the CloudWatch metrics are printed here; nothing is sent. "
            "Stop with Ctrl-C.\n"
        )

    try:
        daemon = Daemon(pipeline, stop_seconds=STOP_SECONDS, on_listening=introduce)
    except BindError as error:
        print(f"neuron-exporter: {error}; choose another with --listen", file=sys.stderr)
        return FAILED
    status = daemon.run()
    transport.print(
        f"\nCloudWatch would have received {transport.datums} datums for "
        f"{len(transport.metrics)} metrics, in {transport.requests} request(s)."
    )
    transport.finish()
    return status
