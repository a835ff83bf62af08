"""The document behind the live page: `/api/v1/snapshot`.

The hardware's part is made once for each report, and only when somebody asks; the rest at most once
a second, however many ask. README, "The page", has its shape.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

import msgspec
from prometheus_client import Counter, Gauge

from neuron_exporter import __version__, log
from neuron_exporter.facts.prices import METRIC, REGION
from neuron_exporter.model import Group, Snapshot
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.web import Request, Response
from neuron_exporter.web.page import reading

VERSION = 1
"""Rises when a field is renamed or changes its meaning; new fields may come without."""

_SECONDS_KEPT = 1.0
_NO_HARDWARE = b"{}"
_NO_LOG = (
    "Log lines are shown only where everybody who comes in is known: set basic_auth_users or "
    "verified client certificates in the web configuration."
)


class Live:
    """Answers with the document, prepared once for all who ask."""

    def __init__(
        self,
        pipeline: Pipeline,
        configuration: Callable[[], Mapping[str, Any]],
        links: tuple[str, ...],
    ) -> None:
        started = time.time()
        about = (pipeline, configuration, links, started)
        # With log lines and without; who asks may see the one or the other.
        self._documents = {shown: _Document(*about, with_log=shown) for shown in (False, True)}

    def answer(self, request: Request) -> Response:
        """The document, or that it is the one that the client has."""
        body, tag = self._documents[request.is_authenticated].now()
        headers = {"ETag": tag}
        known = request.header("If-None-Match").split(",")
        if tag in map(str.strip, known):
            return Response(b"", "application/json", 304, headers)
        return Response(body, "application/json", headers=headers)


class _Document:
    """One of its two forms. For any thread."""

    def __init__(
        self,
        pipeline: Pipeline,
        configuration: Callable[[], Mapping[str, Any]],
        links: tuple[str, ...],
        started: float,
        *,
        with_log: bool,
    ) -> None:
        self._pipeline = pipeline
        self._configuration = configuration
        self._links = links
        self._started = started
        self._with_log = with_log
        self._lock = threading.Lock()
        self._shown: Snapshot | None = None
        self._hardware = _NO_HARDWARE
        self._status: Any = None
        self._body = b""
        self._number = 0
        self._made = -_SECONDS_KEPT

    def now(self) -> tuple[bytes, str]:
        """The document, and a tag that changes with it; not with its age alone."""
        with self._lock:
            now = time.monotonic()
            latest, before = self._pipeline.intake.snapshots()
            fresh = None if latest is None or not latest.at(now).shape else latest
            is_new = fresh is not self._shown
            if is_new or now - self._made >= _SECONDS_KEPT:
                self._make(latest, fresh, before, now)
            return self._body, f'W/"{self._started:.6f}-{int(self._with_log)}-{self._number}"'

    def _make(
        self, latest: Snapshot | None, fresh: Snapshot | None, before: Snapshot | None, now: float
    ) -> None:
        if fresh is not self._shown:
            told = {} if fresh is None else reading(fresh, before)
            self._hardware = msgspec.json.encode(told)
            self._shown = fresh
            self._number += 1
        status = self._told(latest, fresh)
        if status != self._status:
            self._status = status
            self._number += 1
        age = None if latest is None else round(now - latest.taken_at.monotonic, 3)
        self._body = msgspec.json.encode(
            {
                **status,
                "at": time.time(),
                "age_seconds": age,
                "reading": msgspec.Raw(self._hardware),
            }
        )
        self._made = now

    def _told(self, latest: Snapshot | None, fresh: Snapshot | None) -> dict[str, Any]:
        """Everything but readings, their age, and the time."""
        parts = self._pipeline
        machine = parts.identity.machine()
        known = {each.name: getattr(machine, each.name) for each in fields(machine)}
        asked = {"identity": parts.finder, "owners": parts.owners}
        return {
            "version": VERSION,
            "exporter": {"version": __version__, "started_at": self._started},
            "machine": {name: value for name, value in known.items() if value},
            "source": self._source(latest, fresh),
            "missing": list(self._missing()),
            "sinks": {"prometheus": self._prometheus(), "cloudwatch": self._cloudwatch()},
            "asked": {name: who.status() for name, who in asked.items() if who is not None},
            "configuration": self._configuration(),
            "log": (
                {"lines": log.last_lines()} if self._with_log else {"lines": None, "why": _NO_LOG}
            ),
            "links": self._links,
        }

    def _source(self, latest: Snapshot | None, fresh: Snapshot | None) -> dict[str, Any]:
        status = self._pipeline.intake.status()
        return {
            "kind": self._pipeline.config.source.kind,
            "state": status.state.value,
            "why": status.why,
            "reports": status.reports,
            "restarts": _total(self._pipeline.telemetry.restarts),
            "period_seconds": round(status.period, 3),
            "last_report_at": None if latest is None else latest.taken_at.wall,
            "fresh_for_seconds": None if latest is None else latest.fresh_for,
            "is_fresh": fresh is not None,
        }

    def _missing(self) -> Iterator[dict[str, str]]:
        """The groups that are not read, and why."""
        failing = self._pipeline.intake.status().failing
        for group in Group:
            if group not in self._pipeline.groups:
                yield {"group": group.value, "why": "no sink publishes it, so it is not asked for"}
            elif group in failing:
                yield {"group": group.value, "why": failing[group]}

    def _prometheus(self) -> dict[str, Any]:
        sink = self._pipeline.prometheus
        if sink is None:
            return {"is_on": False}
        series = sum(sink.series(time.monotonic()).values())
        return {"is_on": True, "metrics": len(sink.selection.rows), "series": series}

    def _cloudwatch(self) -> dict[str, Any]:
        sink, telemetry = self._pipeline.cloudwatch, self._pipeline.telemetry
        if sink is None:
            return {"is_on": False}
        said, spending, config = sink.status(), sink.spending, self._pipeline.config.cloudwatch
        price = METRIC.tiers[0].usd
        return {
            "is_on": True,
            "is_up": bool(_value(telemetry.sink_up, sink.name)),
            "state": said["state"],
            "transport": config.transport,
            "namespace": config.namespace,
            "last_success_at": _value(telemetry.sink_last_success, sink.name) or None,
            "queued_requests": int(said["queued requests"]),
            "kept": said.get("kept"),
            "oldest": said.get("oldest"),
            "dimension_sets": config.dimension_sets,
            "names": sorted(sink.selection.names),
            "metrics": spending.published,
            "wanted_metrics": spending.wanted,
            "budget_metrics": spending.limit,
            "monthly_usd": round(spending.published * price, 2),
            "wanted_monthly_usd": round(spending.wanted * price, 2),
            "price_region": REGION,
            "dropped": spending.told(),
            "waiting_metrics": spending.waiting,
        }


def _value(gauge: Gauge, sink: str) -> float:
    """What a gauge with one label shows for a sink; 0 where nobody has set it."""
    found = [s.value for each in gauge.collect() for s in each.samples if s.labels["sink"] == sink]
    return found[0] if found else 0.0


def _total(counter: Counter) -> int:
    """All that a counter has counted, whatever its labels."""
    counted = (s for each in counter.collect() for s in each.samples if s.name.endswith("_total"))
    return int(sum(sample.value for sample in counted))
