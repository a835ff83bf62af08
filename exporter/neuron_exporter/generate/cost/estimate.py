"""What a configuration's CloudWatch metrics cost: one machine, a fleet, and other ways."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from neuron_exporter.config import ConfigError, Given, Loaded
from neuron_exporter.facts.instance_types import Source
from neuron_exporter.facts.prices import (
    ALARM,
    ALARM_COMPOSITE,
    HOURS_OF_A_MONTH,
    LOG_GIGABYTE,
    METRIC,
    OTLP_GIGABYTE,
    REQUEST,
    SET_UPS,
    Price,
)
from neuron_exporter.generate.alarms.alarms import Asked, alarms
from neuron_exporter.generate.alarms.template import alarm_metrics
from neuron_exporter.generate.dry_run import (
    DEFAULT_INSTANCE_TYPE,
    Configure,
    Count,
    check_type,
    count,
)
from neuron_exporter.units import format_duration

_PRESETS = ("minimal", "standard", "full")


@dataclass(frozen=True, slots=True)
class Bill:
    """What so many metrics, requests and bytes of logs cost in a month (USD)."""

    metrics: int
    requests: int
    log_bytes: int

    @property
    def metrics_usd(self) -> float:
        """The metrics alone."""
        return charge(METRIC, self.metrics)

    @property
    def requests_usd(self) -> float:
        """The requests alone."""
        return charge(REQUEST, self.requests)

    @property
    def logs_usd(self) -> float:
        """The logs alone."""
        return charge(LOG_GIGABYTE, self.log_bytes / 1e9)

    @property
    def usd(self) -> float:
        """All together."""
        return self.metrics_usd + self.requests_usd + self.logs_usd


@dataclass(frozen=True, slots=True)
class Alarms:
    """What `neuron-exporter alarms` writes for a fleet, or where nothing is shared, for a machine:
    the metrics that its alarms read, and its composite alarms."""

    whom: str
    metrics: int
    composites: int

    @property
    def usd(self) -> float:
        """What they cost in a month (USD)."""
        return charge(ALARM, self.metrics) + charge(ALARM_COMPOSITE, self.composites)


@dataclass(frozen=True, slots=True)
class Choice:
    """Another way to watch one machine; its metrics are None where they are not what is billed."""

    name: str
    metrics: int | None
    usd: float
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything that the command tells."""

    machine: str
    enabled: bool
    counted: Count
    one: Bill
    instances: int
    fleet: Bill
    alarms: Alarms | None
    beside: tuple[Choice, ...]


def estimate(
    configure: Configure,
    instance_type: str | None = None,
    stream: str | None = None,
    instances: int = 1,
) -> Estimate:
    """Count and price.

    Raises:
        ConfigError: configuration, type or file cannot be used.
    """
    config = configure(()).config
    name = instance_type or config.identity.instance_type or DEFAULT_INSTANCE_TYPE
    if stream is None:
        check_type(name)
    counted = count(configure, instance_type=name, stream=stream)
    windows = HOURS_OF_A_MONTH * 3600 / counted.interval
    # To standard output nothing is requested; what reads it asks for something else.
    requests = 0 if counted.log_bytes_a_window else math.ceil(counted.requests_a_window * windows)
    log_bytes = math.ceil(counted.log_bytes_a_window * windows)
    own = sum(part.count for part in counted.parts if not part.shared)
    return Estimate(
        machine=f"a simulated {name}" if stream is None else f"the machine of {stream}",
        enabled=config.cloudwatch.enabled,
        counted=counted,
        one=Bill(counted.metrics, requests, log_bytes),
        instances=instances,
        fleet=Bill(
            counted.metrics + (instances - 1) * own, instances * requests, instances * log_bytes
        ),
        alarms=_alarms(configure, name, stream),
        beside=tuple(_beside(configure, name, stream, counted)),
    )


def _alarms(configure: Configure, name: str, stream: str | None) -> Alarms | None:
    """All alarms that could be made; None where some of them would have nothing to watch."""

    def switched_on(flags: Iterable[Given]) -> Loaded:
        return configure([Given("cost", "cloudwatch.enabled", True), *flags])

    for whom, instance_id in (("the fleet", None), ("one machine", "i-0")):
        asked = Asked(
            instance_type=name if stream is None else None, stream=stream, instance_id=instance_id
        )
        try:
            return Alarms(whom, *alarm_metrics(alarms(switched_on, asked)))
        except ConfigError:
            continue
    return None


def charge(price: Price, number: float) -> float:
    """What so many units cost, the first ones at the first tier's price, and so on."""
    total, below = 0.0, 0
    for tier in price.tiers:
        end = number if tier.up_to is None else min(number, tier.up_to)
        total += max(0.0, end - below) * tier.usd
        below = tier.up_to or below
    return total


def _beside(configure: Configure, name: str, stream: str | None, counted: Count) -> list[Choice]:
    choices = []
    for preset in _PRESETS:
        overrides = {
            "cloudwatch.preset": preset,
            "cloudwatch.include": [],
            "cloudwatch.exclude": [],
            "cloudwatch.budget": {"max_metrics": None},
        }
        other = count(configure, instance_type=name, stream=stream, overrides=overrides)
        choices.append(_choice(f"preset {preset}, in the same sets", other.metrics))
    choices.append(_choice("these, with one for each core and device", counted.spots))
    choices += [
        _choice(row.name, row.metrics, row.source)
        for row in SET_UPS
        if row.instance_type is None or (stream is None and row.instance_type == name)
    ]
    gigabytes = counted.otlp_bytes * HOURS_OF_A_MONTH * 3600 / counted.interval / 1e9
    every = format_duration(counted.interval)
    choices.append(
        Choice(
            f"OTLP, all {counted.otlp_series:,} of Prometheus every {every}: "
            f"about {gigabytes:.1f} GB",
            None,
            charge(OTLP_GIGABYTE, gigabytes),
            OTLP_GIGABYTE.sources[0],
        )
    )
    return choices


def _choice(name: str, metrics: int, source: Source | None = None) -> Choice:
    return Choice(name, metrics, charge(METRIC, metrics), source)
