"""What a configuration's CloudWatch metrics cost: one machine, a fleet, and other ways."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from exporter.config import ConfigError, Given, Loaded
from exporter.facts.instance_types import Source
from exporter.facts.prices import (
    ALARM,
    ALARM_COMPOSITE,
    HOURS_OF_A_MONTH,
    LOG_GIGABYTE,
    METRIC,
    OTLP_GIGABYTE,
    REGION,
    REQUEST,
    SET_UPS,
    Price,
)
from exporter.generate.alarm_template import alarm_metrics
from exporter.generate.alarms import Asked, alarms
from exporter.generate.count import DEFAULT_INSTANCE_TYPE, Configure, Count, check_type, count
from exporter.sinks.cloudwatch.budget import Spending
from exporter.units import format_duration

_PRESETS = ("minimal", "standard", "full")
_WIDTH = 78


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


# How it is told


def as_json(told: Estimate) -> str:
    """Everything, for programs. The outermost numbers are those of one machine."""
    document = {
        "machine": told.machine,
        "cloudwatch_enabled": told.enabled,
        "region": REGION,
        "instances": told.instances,
        **_bill(told.one),
        "parts": [
            {
                "dimensions": list(part.dimensions),
                "shared_by_fleet": part.shared,
                "metrics": part.count,
                "monthly_usd": _cents(_share(told.one, part.count)),
                "names": dict(part.metrics),
            }
            for part in told.counted.parts
        ],
        "fleet": _bill(told.fleet),
        "alarms": told.alarms
        and {
            "on": told.alarms.whom,
            "metrics": told.alarms.metrics,
            "composites": told.alarms.composites,
            "monthly_usd": _cents(told.alarms.usd),
        },
        "beside": [
            {
                "name": choice.name,
                "metrics": choice.metrics,
                "monthly_usd": _cents(choice.usd),
                "source": _cited(choice.source) if choice.source else None,
            }
            for choice in told.beside
        ],
        "assumed_dimensions": list(told.counted.assumed),
        "dropped_sets": [
            {"dimensions": list(names), "unknown": list(unknown)}
            for names, unknown in told.counted.dropped.items()
        ],
        "budget": {
            "metrics": told.counted.spending.limit,
            "wanted": told.counted.spending.wanted,
            "not_sent": [
                {"dimensions": list(names), "name": name, "metrics": number}
                for (names, name), number in told.counted.spending.dropped.items()
            ],
        },
        "sources": [_cited(source) for source in _sources()],
    }
    return json.dumps(document, indent=2) + "\n"


def _bill(bill: Bill) -> dict[str, Any]:
    return {
        "metrics": bill.metrics,
        "monthly_usd": _cents(bill.usd),
        "metrics_usd": _cents(bill.metrics_usd),
        "requests": bill.requests,
        "requests_usd": _cents(bill.requests_usd),
        "log_bytes": bill.log_bytes,
        "logs_usd": _cents(bill.logs_usd),
    }


def as_text(told: Estimate) -> str:
    """Everything, for people."""
    off = [] if told.enabled else ["CloudWatch is off in this configuration; as if it were on:"]
    lines = [f"CloudWatch, {told.machine}; USD a month in {REGION}", *off, ""]
    lines.append(_row("DIMENSION SET", "METRICS", "USD"))
    for part in told.counted.parts:
        shared = " (shared by the fleet)" if part.shared else ""
        usd = _money(_share(told.one, part.count))
        lines.append(_row(", ".join(part.dimensions) + shared, f"{part.count:,}", usd))
        listed = ", ".join(
            name if number == 1 else f"{name} x {number}" for name, number in part.metrics.items()
        )
        lines += wrap(listed, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    lines += _over_budget(told.counted.spending)
    for names, unknown in told.counted.dropped.items():
        lines.append(f"{', '.join(names)}: not sent, for lack of {', '.join(unknown)}")
    if told.counted.assumed:
        lines.append(f"taken as known: {', '.join(told.counted.assumed)}")
    lines += ["", _row("MACHINES", "METRICS", "USD")]
    lines += _billed("1", told.one)
    if told.instances > 1:
        lines += _billed(f"{told.instances:,}", told.fleet)
    if told.alarms is None:
        lines += [
            "",
            "`neuron-exporter alarms` says which alarms this configuration lacks metrics for",
        ]
    else:
        lines += [
            "",
            _row("ALARMS, AS `neuron-exporter alarms` WRITES THEM", "METRICS", "USD"),
            _row(
                f"on {told.alarms.whom}, {told.alarms.composites} composite among them",
                f"{told.alarms.metrics:,}",
                _money(told.alarms.usd),
            ),
        ]
    lines += ["", _row("BESIDE IT, FOR ONE MACHINE", "METRICS", "USD")]
    sources = _sources()
    for choice in told.beside:
        mark = f" [{sources.index(choice.source) + 1}]" if choice.source else ""
        number = "-" if choice.metrics is None else f"{choice.metrics:,}"
        lines.append(_row(choice.name + mark, number, _money(choice.usd)))
    lines += ["", *_notes(), "", "SOURCES"]
    lines += [f"{at:>3}  {_cited(source)}" for at, source in enumerate(sources, 1)]
    return "\n".join(lines) + "\n"


def _billed(machines: str, bill: Bill) -> list[str]:
    beside = f"  and {bill.requests:,} requests", bill.requests_usd
    if bill.log_bytes:
        beside = f"  and {bill.log_bytes / 1e9:,.2f} GB of logs", bill.logs_usd
    return [
        _row(machines, f"{bill.metrics:,}", _money(bill.metrics_usd)),
        _row(beside[0], "", _money(beside[1])),
    ]


def _over_budget(spending: Spending) -> list[str]:
    if not spending.dropped:
        return []
    usd = charge(METRIC, spending.wanted)
    told = (
        f"over the budget of {spending.limit:,} metrics: {spending.wanted:,} ({_money(usd)}) are "
        f"wanted; not sent: {'; '.join(spending.told())}"
    )
    return wrap(told, _WIDTH, subsequent_indent="  ")


def _notes() -> list[str]:
    return wrap(
        "A set with InstanceId counts once for each machine, any other once for the fleet. The "
        f"account's first {REQUEST.tiers[0].up_to:,} requests are free, and taken off; so are its "
        "first ten metrics, which are not. The price of a metric is that of the account's own "
        "tiers, from the first.",
        _WIDTH,
    )


def _sources() -> list[Source]:
    """Where the prices are from, and what stands beside them."""
    priced = [*METRIC.sources, *REQUEST.sources, *OTLP_GIGABYTE.sources, *LOG_GIGABYTE.sources]
    priced += [*ALARM.sources, *ALARM_COMPOSITE.sources]
    return list(dict.fromkeys([*priced, *(row.source for row in SET_UPS)]))


def _share(bill: Bill, metrics: int) -> float:
    return bill.metrics_usd * metrics / bill.metrics if bill.metrics else 0.0


def _cited(source: Source) -> str:
    return f"{source.name}, {source.date}"


def _row(what: str, metrics: str, usd: str) -> str:
    return f"{what:<58}{metrics:>9}{usd:>11}".rstrip()


def _money(usd: float) -> str:
    return f"{usd:,.2f}"


def _cents(usd: float) -> float:
    return round(usd, 2)
