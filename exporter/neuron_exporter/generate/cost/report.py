"""Print the cost of a configuration as JSON or as text."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import Any

from neuron_exporter.facts.instance_types import Citation
from neuron_exporter.facts.prices import (
    ALARM,
    ALARM_COMPOSITE,
    LOG_GIGABYTE,
    METRIC,
    OTHER_SETUPS,
    OTLP_GIGABYTE,
    REGION,
    REQUEST,
)
from neuron_exporter.generate.cost.estimate import Bill, Estimate, OtlpBill, OtlpCost, charge
from neuron_exporter.sinks.cloudwatch.budget import BudgetStatus
from neuron_exporter.text import format_duration

_WIDTH = 78


def as_json(estimate: Estimate) -> str:
    """Return the estimate as JSON. The top-level numbers are those of one machine."""
    result, alarms = estimate.result, estimate.alarms
    document = {
        "machine": estimate.machine,
        "cloudwatch_enabled": estimate.enabled,
        "region": REGION,
        "instances": estimate.instances,
        **_bill(estimate.one),
        "parts": [
            {
                "dimensions": list(each.dimensions),
                "shared_by_fleet": each.shared,
                "metrics": each.count,
                "monthly_usd": round(_share(estimate.one, each.count), 2),
                "names": dict(each.metrics),
            }
            for each in result.sets
        ],
        "fleet": _bill(estimate.fleet),
        "alarms": alarms
        and {
            "on": alarms.target,
            "metrics": alarms.metrics,
            "composites": alarms.composites,
            "monthly_usd": round(alarms.usd, 2),
        },
        "beside": [
            {
                "name": alternative.name,
                "metrics": alternative.metrics,
                "monthly_usd": round(alternative.usd, 2),
                "source": _cited(alternative.source) if alternative.source else None,
            }
            for alternative in estimate.alternatives
        ],
        "otlp": None if isinstance(estimate.otlp, str) else _otlp_document(estimate.otlp),
        "assumed_dimensions": list(result.assumed),
        "dropped_sets": [
            {"dimensions": list(names), "unknown": list(unknown)}
            for names, unknown in result.dropped.items()
        ],
        "budget": {
            "metrics": result.budget.limit,
            "wanted": result.budget.wanted,
            "not_sent": [
                {"dimensions": list(names), "name": name, "metrics": number}
                for (names, name), number in result.budget.suppressed_items.items()
            ],
        },
        "sources": [_cited(source) for source in _sources()],
    }
    return json.dumps(document, indent=2) + "\n"


def _bill(bill: Bill) -> dict[str, Any]:
    return {
        "metrics": bill.metrics,
        "monthly_usd": round(bill.usd, 2),
        "metrics_usd": round(bill.metrics_usd, 2),
        "requests": bill.requests,
        "requests_usd": round(bill.requests_usd, 2),
        "log_bytes": bill.log_bytes,
        "logs_usd": round(bill.logs_usd, 2),
    }


def _otlp_document(otlp: OtlpCost) -> dict[str, Any]:
    largest, budget = otlp.volume.largest, otlp.volume.budget
    return {
        "enabled": otlp.enabled,
        "interval_seconds": otlp.volume.interval,
        "per_interval": largest._asdict(),
        **_otlp_bill(otlp.one),
        "fleet": _otlp_bill(otlp.fleet),
        "budget": {
            "bytes": budget.limit,
            "wanted": budget.wanted,
            "not_sent": [{"name": name, "bytes": size} for name, size in budget.suppressed.items()],
        },
    }


def _otlp_bill(bill: OtlpBill) -> dict[str, Any]:
    return {
        **bill._asdict(),
        "monthly_usd": round(bill.usd, 2),
    }


def as_text(estimate: Estimate) -> str:
    """Return the estimate as text."""
    result, alarms = estimate.result, estimate.alarms
    lines = [f"CloudWatch cost of {estimate.machine} (USD per month, {REGION})"]
    if not estimate.enabled:
        lines.append("CloudWatch is disabled in this configuration; this is the cost if enabled.")
    lines.append("")
    lines.append(_row("DIMENSION SET", "METRICS", "USD"))
    for each in result.sets:
        shared = " (shared by the fleet)" if each.shared else ""
        usd = _money(_share(estimate.one, each.count))
        lines.append(_row(", ".join(each.dimensions) + shared, f"{each.count:,}", usd))
        listed = ", ".join(
            name if number == 1 else f"{name} x {number}" for name, number in each.metrics.items()
        )
        lines += wrap(listed, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    lines += _over_budget(result.budget)
    for names, unknown in result.dropped.items():
        lines.append(f"{', '.join(names)}: not published ({', '.join(unknown)} unknown)")
    if result.assumed:
        lines.append(f"assumed to be known: {', '.join(result.assumed)}")
    lines += ["", _row("MACHINES", "METRICS", "USD")]
    lines += _billed("1", estimate.one)
    if estimate.instances > 1:
        lines += _billed(f"{estimate.instances:,}", estimate.fleet)
    if alarms is None:
        missing = "the metrics that this configuration lacks for alarms"
        lines += ["", f"`neuron-exporter alarms` lists {missing}"]
    else:
        name = f"for {alarms.target}, including {alarms.composites} composite"
        lines += ["", _row("ALARMS (OF `neuron-exporter alarms`)", "METRICS", "USD")]
        lines.append(_row(name, f"{alarms.metrics:,}", _money(alarms.usd)))
    lines += ["", _row("ALTERNATIVES FOR ONE MACHINE", "METRICS", "USD")]
    sources = _sources()
    for alternative in estimate.alternatives:
        mark = f" [{sources.index(alternative.source) + 1}]" if alternative.source else ""
        number = f"{alternative.metrics:,}"
        lines.append(_row(alternative.name + mark, number, _money(alternative.usd)))
    lines += ["", *_otlp_lines(estimate, sources)]
    lines += ["", *_notes(), "", "SOURCES"]
    lines += [f"{at:>3}  {_cited(source)}" for at, source in enumerate(sources, 1)]
    return "\n".join(lines) + "\n"


def _billed(machines: str, bill: Bill) -> list[str]:
    transport, usd = f"  and {bill.requests:,} requests", bill.requests_usd
    if bill.log_bytes:
        transport, usd = f"  and {bill.log_bytes / 1e9:,.2f} GB of logs", bill.logs_usd
    metrics = _row(machines, f"{bill.metrics:,}", _money(bill.metrics_usd))
    return [metrics, _row(transport, "", _money(usd))]


def _otlp_lines(estimate: Estimate, sources: list[Citation]) -> list[str]:
    otlp = estimate.otlp
    mark = sources.index(OTLP_GIGABYTE.sources[0]) + 1
    if isinstance(otlp, str):
        return [f"OTLP is not counted: it {otlp}"]
    state = "" if otlp.enabled else ", IF ENABLED"
    lines = [_row(f"OTLP TO CLOUDWATCH{state} [{mark}]", "GB", "USD")]
    volume, machines = otlp.volume, [("1", otlp.one)]
    if estimate.instances > 1:
        machines.append((f"{estimate.instances:,}", otlp.fleet))
    for number, bill in machines:
        lines.append(_row(number, _gigabytes(bill.ingested_bytes), _money(bill.usd)))
    requests = "request" if volume.largest.requests == 1 else "requests"
    sent = f"{volume.largest.points:,} points in {volume.largest.requests:,} {requests}"
    text = f"each machine sends {sent} every {format_duration(volume.interval)}: "
    text += f"{_gigabytes(otlp.one.bytes)} GB, {_gigabytes(otlp.one.gzip_bytes)} GB after gzip"
    if volume.budget.suppressed:
        wanted, limit = (_otlp_usd(size) for size in (volume.budget.wanted, volume.budget.limit))
        text += f"; over the budget of {limit} USD: {wanted} USD are selected"
        text += f"; not sent: {', '.join(volume.budget.suppressed)}"
    return lines + wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")


def _otlp_usd(size: int | None) -> str:
    return _money(charge(OTLP_GIGABYTE, (size or 0) / 1e9))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f}"


def _over_budget(budget: BudgetStatus) -> list[str]:
    if not budget.suppressed_items:
        return []
    usd = _money(charge(METRIC, budget.wanted))
    text = f"over the budget of {budget.limit:,} metrics: {budget.wanted:,} ({usd}) are selected"
    text += f"; not published: {'; '.join(budget.describe())}"
    return wrap(text, _WIDTH, subsequent_indent="  ")


def _notes() -> list[str]:
    return wrap(
        "A set with InstanceId counts once per machine, any other set once for the fleet. The "
        f"account's {REQUEST.tiers[0].up_to:,} free requests are deducted; its ten free metrics "
        "are not. Metric prices start at the account's first tier. Over OTLP, CloudWatch counts "
        "each data point with its name, labels, resource attributes, time and value, in an "
        "encoding that is not public; protobuf's sizes are assumed.",
        _WIDTH,
    )


def _sources() -> list[Citation]:
    """Return the sources of the prices and of the alternatives."""
    priced = [*METRIC.sources, *REQUEST.sources, *OTLP_GIGABYTE.sources, *LOG_GIGABYTE.sources]
    priced += [*ALARM.sources, *ALARM_COMPOSITE.sources]
    return list(dict.fromkeys([*priced, *(row.source for row in OTHER_SETUPS)]))


def _share(bill: Bill, metrics: int) -> float:
    return bill.metrics_usd * metrics / bill.metrics if bill.metrics else 0.0


def _cited(source: Citation) -> str:
    return f"{source.name}, {source.date}"


def _row(name: str, metrics: str, usd: str) -> str:
    return f"{name:<58}{metrics:>9}{usd:>11}".rstrip()


def _money(usd: float) -> str:
    return f"{usd:,.2f}"
