"""How the price of a configuration is told: for programs, and for people."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import Any

from neuron_exporter.facts.instance_types import Source
from neuron_exporter.facts.prices import (
    ALARM,
    ALARM_COMPOSITE,
    LOG_GIGABYTE,
    METRIC,
    OTLP_GIGABYTE,
    REGION,
    REQUEST,
    SET_UPS,
)
from neuron_exporter.generate.cost.estimate import Bill, Estimate, charge
from neuron_exporter.sinks.cloudwatch.budget import Spending

_WIDTH = 78


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
