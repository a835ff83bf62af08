"""Estimate the cost of a configuration on CloudWatch: machine, fleet, alternatives and OTLP."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from neuron_exporter.config import ConfigError, LoadedConfig, Override
from neuron_exporter.facts.instance_types import Citation
from neuron_exporter.facts.prices import (
    ALARM,
    ALARM_COMPOSITE,
    HOURS_PER_MONTH,
    LOG_GIGABYTE,
    METRIC,
    OTHER_SETUPS,
    OTLP_GIGABYTE,
    REQUEST,
    Price,
)
from neuron_exporter.generate.alarms.alarms import alarms
from neuron_exporter.generate.alarms.template import alarm_metrics
from neuron_exporter.generate.dry_run import DryRunResult, dry_run
from neuron_exporter.generate.options import Configure, choose_type
from neuron_exporter.generate.otlp_volume import OtlpVolume, otlp_volume
from neuron_exporter.pipeline.otlp import why_unusable

_PRESETS = ("minimal", "standard", "full")


class Bill(NamedTuple):
    """Cost of metrics, requests and log bytes in a month (USD)."""

    metrics: int
    requests: int
    log_bytes: int

    @property
    def metrics_usd(self) -> float:
        """Cost of the metrics."""
        return charge(METRIC, self.metrics)

    @property
    def requests_usd(self) -> float:
        """Cost of the requests."""
        return charge(REQUEST, self.requests)

    @property
    def logs_usd(self) -> float:
        """Cost of the logs."""
        return charge(LOG_GIGABYTE, self.log_bytes / 1e9)

    @property
    def usd(self) -> float:
        """Total cost."""
        return self.metrics_usd + self.requests_usd + self.logs_usd


class AlarmCost(NamedTuple):
    """Alarms of `neuron-exporter alarms` for a fleet, or for one machine if no set is shared: the
    metrics that they read, and the composite alarms."""

    target: str
    metrics: int
    composites: int

    @property
    def usd(self) -> float:
        """Cost in a month (USD)."""
        return charge(ALARM, self.metrics) + charge(ALARM_COMPOSITE, self.composites)


class OtlpBill(NamedTuple):
    """Bytes of a month that CloudWatch counts, and those that are sent before and after gzip."""

    ingested_bytes: int
    bytes: int
    gzip_bytes: int

    @property
    def usd(self) -> float:
        """Cost in a month (USD)."""
        return charge(OTLP_GIGABYTE, self.ingested_bytes / 1e9)


class OtlpCost(NamedTuple):
    """What is sent over OTLP, and its cost for one machine and for the fleet."""

    enabled: bool
    volume: OtlpVolume
    one: OtlpBill
    fleet: OtlpBill


class Alternative(NamedTuple):
    """Another way to monitor one machine."""

    name: str
    metrics: int
    usd: float
    source: Citation | None = None


class Estimate(NamedTuple):
    """Result of the `cost` command."""

    machine: str
    enabled: bool
    result: DryRunResult
    one: Bill
    instances: int
    fleet: Bill
    alarms: AlarmCost | None
    alternatives: tuple[Alternative, ...]
    otlp: OtlpCost | str
    """Cost of OTLP, or the reason why it is unknown."""


def estimate(
    configure: Configure,
    instance_type: str | None = None,
    stream: str | None = None,
    instances: int = 1,
) -> Estimate:
    """Count the metrics of a configuration and price them.

    Args:
        instance_type: the machine to simulate; None for the configured or default one.
        stream: file with recorded reports, in place of a simulated machine.

    Raises:
        ConfigError: the configuration, the type or the file is invalid.
    """
    config = configure(()).config
    name = choose_type(config, instance_type, stream)
    result = dry_run(configure, instance_type=name, stream=stream)
    one = one_machine(result)
    per_machine = sum(each.count for each in result.sets if not each.shared)
    metrics = result.metrics + (instances - 1) * per_machine
    return Estimate(
        machine=f"a simulated {name}" if stream is None else f"the machine of {stream}",
        enabled=config.cloudwatch.enabled,
        result=result,
        one=one,
        instances=instances,
        fleet=Bill(metrics, instances * one.requests, instances * one.log_bytes),
        alarms=_alarms(configure, name, stream),
        alternatives=tuple(_alternatives(configure, name, stream, result)),
        otlp=why_unusable() or _otlp(configure, name, stream, instances),
    )


def one_machine(result: DryRunResult) -> Bill:
    """Return what one machine costs."""
    windows = HOURS_PER_MONTH * 3600 / result.interval
    # Transport emf sends no requests: CloudWatch Logs bills the bytes of the log instead.
    requests = 0 if result.log_bytes_per_window else math.ceil(result.requests_per_window * windows)
    return Bill(result.metrics, requests, math.ceil(result.log_bytes_per_window * windows))


def _otlp(configure: Configure, name: str, stream: str | None, instances: int) -> OtlpCost:
    volume = otlp_volume(configure, instance_type=name, stream=stream)
    intervals = HOURS_PER_MONTH * 3600 / volume.interval
    _, _, *sizes = volume.largest
    one, fleet = (
        OtlpBill(*(math.ceil(size * number) for size in sizes))
        for number in (intervals, instances * intervals)
    )
    return OtlpCost(configure(()).config.otlp.enabled, volume, one, fleet)


def _alarms(configure: Configure, name: str, stream: str | None) -> AlarmCost | None:
    """Return the cost of all alarms; None if some would watch metrics that are not published."""

    def enabled(flags: Iterable[Override]) -> LoadedConfig:
        return configure([Override("cost", "cloudwatch.enabled", True), *flags])

    machine: dict[str, Any] = {"instance_type": name} if stream is None else {"stream": stream}
    for target, instance_id in (("the fleet", None), ("one machine", "i-0")):
        with suppress(ConfigError):
            template = alarms(enabled, **machine, instance_id=instance_id)
            return AlarmCost(target, *alarm_metrics(template))
    return None


def charge(price: Price, number: float) -> float:
    """Return the cost of so many units, tier by tier."""
    total, charged = 0.0, 0
    for tier in price.tiers:
        end = number if tier.up_to is None else min(number, tier.up_to)
        total += max(0.0, end - charged) * tier.usd
        charged = tier.up_to or charged
    return total


def _alternatives(
    configure: Configure, name: str, stream: str | None, result: DryRunResult
) -> list[Alternative]:
    alternatives = []
    no_lists: dict[str, object] = {"cloudwatch.include": [], "cloudwatch.exclude": []}
    no_budget = {"cloudwatch.budget": {"max_metrics": None}}
    for preset in _PRESETS:
        overrides = {"cloudwatch.preset": preset, **no_lists, **no_budget}
        other = dry_run(configure, instance_type=name, stream=stream, overrides=overrides)
        alternatives.append(_alternative(f"preset {preset} in the same sets", other.metrics))
    per_entity = "these metrics per core and device"
    alternatives.append(_alternative(per_entity, result.metrics_per_entity))
    alternatives += [
        _alternative(row.name, row.metrics, row.source)
        for row in OTHER_SETUPS
        if row.instance_type is None or (stream is None and row.instance_type == name)
    ]
    return alternatives


def _alternative(name: str, metrics: int, source: Citation | None = None) -> Alternative:
    return Alternative(name, metrics, charge(METRIC, metrics), source)
