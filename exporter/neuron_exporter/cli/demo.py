"""The whole exporter on a simulated machine; what would go to CloudWatch is shown instead."""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import suppress
from itertools import accumulate

from neuron_exporter import __version__, log
from neuron_exporter.config import ConfigError, Given, load, suggest
from neuron_exporter.daemon.daemon import Daemon
from neuron_exporter.facts.instance_types import INSTANCE_TYPES
from neuron_exporter.pipeline.build import SIMULATOR, build
from neuron_exporter.simulator.hardware import hardware
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.sinks.cloudwatch.datums import Datum, count_metrics
from neuron_exporter.sinks.cloudwatch.transport import Outcome, Verdict
from neuron_exporter.web import BindError, Server

FLUSH_SECONDS = 10
STOP_SECONDS = 1.8


def demo(listen: str, instance_type: str, scenario: str) -> int:
    """Run the demonstration until a signal; gives the exit status.

    Raises:
        ConfigError: the flags cannot be used.
    """
    problems = [
        f"--{name}: {suggest(given, known)} (got {given!r})"
        for name, given, known in (
            ("instance-type", instance_type, INSTANCE_TYPES),
            ("scenario", scenario, SCENARIOS),
        )
        if given not in known
    ]
    if instance_type in INSTANCE_TYPES:
        try:
            hardware(instance_type)
        except ValueError as error:
            problems.append(f"--instance-type: {error}")
    command = [*SIMULATOR, "--instance-type", instance_type, "--scenario", scenario]
    settings = {
        "source.command": command,
        "source.period": "1s",
        "cloudwatch.enabled": True,
        "cloudwatch.flush_interval": f"{FLUSH_SECONDS}s",
        "cloudwatch.spool.path": None,
        "identity.imds": False,  # who the simulated machine is, the simulator tells
        "identity.ecs": False,
        "log.level": "warning",
    }
    flags = [Given("demo", key, value) for key, value in settings.items()]
    try:
        loaded = load(flags=[*flags, Given("--listen", "prometheus.listen", listen)])
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    log.configure(loaded.config.log.level, loaded.config.log.format)
    shown = Shown()
    pipeline = build(loaded, environment={}, connect=lambda _: shown)

    def introduce(server: Server) -> None:
        runtimes = SCENARIOS[scenario].runtimes
        shown.say(
            f"Neuron Exporter {__version__} on a simulated {instance_type}: {runtimes} runtimes, "
            f"scenario {scenario}\n\n"
            f"  page      {server.url}/\n"
            f"  metrics   {server.url}/metrics\n\n"
            f"Every {FLUSH_SECONDS} s the CloudWatch metrics are shown here; nothing is sent. "
            "Ctrl-C ends it.\n"
        )

    try:
        daemon = Daemon(pipeline, stop_seconds=STOP_SECONDS, on_listening=introduce)
    except BindError as error:
        print(f"neuron-exporter: {error}; choose another with --listen", file=sys.stderr)
        return 1
    status = daemon.run()
    shown.say(
        f"\nCloudWatch would have got {shown.datums} datums for {len(shown.metrics)} metrics, "
        f"in {shown.requests} request(s)."
    )
    return status


class Shown:
    """A transport that counts requests and prints what is in them."""

    def __init__(self) -> None:
        self.requests = 0
        self.datums = 0
        self.metrics: set[str] = set()

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Print the metrics of one request."""
        self.requests += 1
        self.datums += len(datums)
        self.metrics |= {datum["MetricName"] for datum in datums}
        stamp = datums[0]["Timestamp"].strftime("%H:%M:%S")
        rows = [
            f"\n{stamp} UTC, namespace {namespace}: 1 request, {len(datums)} datums, "
            f"{count_metrics(datums)} metrics",
            f"  {'':30}{'unit':>8}{'readings':>10}{'average':>14}{'p99':>14}{'maximum':>14}",
        ]
        for name, unit, readings in _pooled(datums):
            count = sum(n for _, n in readings)
            average = sum(value * n for value, n in readings) / count
            rows.append(
                f"  {name:30}{unit:>8}{count:>10.0f}{average:>14.6g}"
                f"{_percentile(readings, 99):>14.6g}{max(readings)[0]:>14.6g}"
            )
        self.say("\n".join(rows))
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Nothing is open."""

    def say(self, text: str) -> None:
        """Print; that nobody reads it any more is no reason to end."""
        with suppress(OSError, ValueError):
            print(text, flush=True)


Readings = list[tuple[float, float]]


def _pooled(datums: list[Datum]) -> list[tuple[str, str, Readings]]:
    """The readings of each metric, with their counts, from all of its datums."""
    pooled: dict[tuple[str, str], Readings] = defaultdict(list)
    for datum in datums:
        values = datum.get("Values", [datum.get("Value")])
        counts = datum.get("Counts", [1.0] * len(values))
        pooled[datum["MetricName"], datum["Unit"]] += zip(values, counts, strict=True)
    return [(name, unit, readings) for (name, unit), readings in pooled.items()]


def _percentile(readings: Readings, percent: float) -> float:
    """The smallest value that so many percent of the readings do not exceed."""
    wanted = sum(count for _, count in readings) * percent / 100
    reached = accumulate(count for _, count in sorted(readings))
    return next(
        value
        for (value, _), so_far in zip(sorted(readings), reached, strict=True)
        if so_far >= wanted
    )
