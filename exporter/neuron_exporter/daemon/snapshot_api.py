"""The JSON document `/api/v1/snapshot`, which the page shows.

The part about the hardware is built once per report, the rest at most once a second, and both only
on request. docs/page-and-api.md describes its fields.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from neuron_exporter import __version__, log
from neuron_exporter.daemon.problems import ProblemMonitor
from neuron_exporter.facts.prices import METRIC, REGION
from neuron_exporter.model import Group, Snapshot
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.pipeline.otlp import shown_endpoint
from neuron_exporter.pipeline.source import source_kind
from neuron_exporter.sinks.delivery.sink import DeliveringSink
from neuron_exporter.web import Request, Response
from neuron_exporter.web.page import build_reading

VERSION = 2
"""Incremented when a field is renamed, removed or changes its meaning; not for new fields."""

_CACHE_SECONDS = 1.0
_DRY_RUN = "dry run: requests are printed, nothing is sent"
_NO_LOG = {
    "lines": None,
    "reason": "Log lines are shown to authenticated clients only: set basic_auth_users or verified "
    "client certificates in the web configuration.",
}


class SnapshotEndpoint:
    """Handler of the path; all clients share one cached document."""

    def __init__(
        self,
        pipeline: Pipeline,
        configuration: Callable[[], Mapping[str, Any]],
        links: tuple[str, ...],
    ) -> None:
        # One with log lines for authenticated clients, one without for others.
        started = time.time()
        monitor = ProblemMonitor(pipeline.processor, started)
        shared = (pipeline, configuration, links, started, monitor)
        self._documents = {each: _Document(*shared, with_log=each) for each in (False, True)}

    def handle(self, request: Request) -> Response:
        """Return the document, or 304 if the client has it already."""
        body, tag = self._documents[request.is_authenticated].current()
        headers = {"ETag": tag}
        cached = request.header("If-None-Match").split(",")
        if tag in map(str.strip, cached):
            return Response(b"", "application/json", 304, headers)
        return Response(body, "application/json", headers=headers)


@dataclass(eq=False)
class _Document:
    """The cached document. Thread-safe."""

    pipeline: Pipeline
    configuration: Callable[[], Mapping[str, Any]]
    links: tuple[str, ...]
    started: float
    monitor: ProblemMonitor
    with_log: bool

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._encoded_snapshot: Snapshot | None = None
        self._hardware = b"{}"
        self._status: Any = None
        self._body = b""
        self._revision = 0
        self._built_at = -_CACHE_SECONDS

    def current(self) -> tuple[bytes, str]:
        """Return the document and its ETag, which does not change with `at` and the age alone."""
        with self._lock:
            now = time.monotonic()
            latest, before = self.pipeline.processor.snapshots()
            fresh = None if latest is None or latest.as_of(now) is not latest else latest
            is_new = fresh is not self._encoded_snapshot
            if is_new or now - self._built_at >= _CACHE_SECONDS:
                self._build(latest, fresh, before, now)
            return self._body, f'W/"{self.started:.6f}-{int(self.with_log)}-{self._revision}"'

    def _build(
        self, latest: Snapshot | None, fresh: Snapshot | None, before: Snapshot | None, now: float
    ) -> None:
        if fresh is not self._encoded_snapshot:
            hardware = {} if fresh is None else build_reading(fresh, before)
            self._hardware = msgspec.json.encode(hardware)
            self._encoded_snapshot = fresh
            self._revision += 1
        status = self._build_status(latest, fresh, now)
        if status != self._status:
            self._status = status
            self._revision += 1
        age = None if latest is None else round(now - latest.taken_at.monotonic, 3)
        reading = msgspec.Raw(self._hardware)
        self._body = msgspec.json.encode(
            {**status, "at": time.time(), "age_seconds": age, "reading": reading}
        )
        self._built_at = now

    def _build_status(
        self, latest: Snapshot | None, fresh: Snapshot | None, now: float
    ) -> dict[str, Any]:
        """Return all of the document but `reading`, `age_seconds` and `at`."""
        parts = self.pipeline
        log_lines = {"lines": log.recent_events()} if self.with_log else _NO_LOG
        machine = parts.identity.machine()
        values = {each.name: getattr(machine, each.name) for each in fields(machine)}
        sinks = {
            "prometheus": self._prometheus(),
            "cloudwatch": self._cloudwatch(),
            "otlp": self._otlp(),
        }
        problems = self.monitor.current(
            sinks,
            is_fresh=fresh is not None,
            is_simulated=parts.is_simulated,
            now=now,
        )
        lookups = {"identity": parts.identity_resolver, "owners": parts.owner_lookup}
        return {
            "version": VERSION,
            "exporter": {"version": __version__, "started_at": self.started},
            "problems": problems,
            "machine": {name: value for name, value in values.items() if value},
            "source": self._source(latest, fresh),
            "missing": list(self._missing()),
            "sinks": sinks,
            "lookups": {name: each.status() for name, each in lookups.items() if each is not None},
            "configuration": self.configuration(),
            "log": log_lines,
            "links": self.links,
        }

    def _source(self, latest: Snapshot | None, fresh: Snapshot | None) -> dict[str, Any]:
        status = self.pipeline.processor.status()
        return {
            "kind": source_kind(self.pipeline.config.source),
            "is_simulated": self.pipeline.is_simulated,
            "state": status.state.value,
            "reason": status.reason,
            "reports": status.reports,
            "restarts": _total(self.pipeline.telemetry.restarts),
            "period_seconds": round(status.period, 3),
            "last_report_at": None if latest is None else latest.taken_at.wall,
            "fresh_for_seconds": None if latest is None else latest.fresh_for,
            "is_fresh": fresh is not None,
        }

    def _missing(self) -> Iterator[dict[str, Any]]:
        """Yield the groups without readings, each with the reason."""
        failing = self.pipeline.processor.status().failing_groups
        for group in Group:
            if group not in self.pipeline.groups:
                reason = "no sink publishes it, so it is not requested"
                yield {"group": group.value, "reason": reason, "is_failing": False}
            elif group in failing:
                yield {"group": group.value, "reason": failing[group], "is_failing": True}

    def _prometheus(self) -> dict[str, Any]:
        sink = self.pipeline.prometheus
        if sink is None:
            return {"is_on": False}
        series = sum(sink.series(time.monotonic()).values())
        return {"is_on": True, "metrics": len(sink.selection.rows), "series": series}

    def _cloudwatch(self) -> dict[str, Any]:
        sink = self.pipeline.cloudwatch
        if sink is None:
            return {"is_on": False}
        budget_status = sink.budget_status
        config = self.pipeline.config.cloudwatch
        price = METRIC.tiers[0].usd
        return {
            **self._delivery(sink),
            "transport": "print" if self.pipeline.is_dry_run else config.transport,
            "namespace": config.namespace,
            "dimension_sets": config.dimension_sets,
            "names": sorted(sink.selection.names),
            "metrics": budget_status.published,
            "wanted_metrics": budget_status.wanted,
            "budget_metrics": budget_status.limit,
            "monthly_usd": round(budget_status.published * price, 2),
            "wanted_monthly_usd": round(budget_status.wanted * price, 2),
            "price_region": REGION,
            "dropped": budget_status.describe(),
            "waiting_metrics": budget_status.deferred,
        }

    def _otlp(self) -> dict[str, Any]:
        sink, telemetry = self.pipeline.otlp, self.pipeline.telemetry
        if sink is None:
            return {"is_on": False}
        config, budget_status = self.pipeline.config.otlp, sink.budget_status
        return {
            **self._delivery(sink),
            "endpoint": shown_endpoint(config),
            "auth": config.auth,
            "interval_seconds": config.interval,
            "metrics": len(sink.selection.rows),
            "points": int(_value(telemetry.otlp_points)),
            "bytes": int(_value(telemetry.otlp_bytes)),
            "monthly_bytes": budget_status.published,
            "wanted_monthly_bytes": budget_status.wanted,
            "budget_monthly_bytes": budget_status.limit,
            "dropped": sorted(budget_status.suppressed),
        }

    def _delivery(self, sink: DeliveringSink[Any]) -> dict[str, Any]:
        """Return what is shown about each sink that sends."""
        status, telemetry = sink.status(), self.pipeline.telemetry
        return {
            "is_on": True,
            "is_up": bool(_value(telemetry.sink_up, sink=sink.name)),
            "state": _DRY_RUN if self.pipeline.is_dry_run else status["state"],
            "last_success_at": _value(telemetry.sink_last_success, sink=sink.name) or None,
            "failing_since": sink.failing_since,
            "queued_requests": int(status["queued requests"]),
            "kept": status.get("kept"),
            "oldest": status.get("oldest"),
        }


def _value(gauge: Gauge, **labels: str) -> float:
    """Return the value of a gauge with these labels; 0 if it was never set."""
    found = [s.value for each in gauge.collect() for s in each.samples if s.labels == labels]
    return found[0] if found else 0.0


def _total(counter: Counter) -> int:
    """Return the sum of a counter over its labels."""
    samples = (s for each in counter.collect() for s in each.samples if s.name.endswith("_total"))
    return int(sum(sample.value for sample in samples))
