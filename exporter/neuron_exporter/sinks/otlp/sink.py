"""OTLP sink: a thread that sends the latest values at the end of each interval."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from neuron_exporter.facts.prices import HOURS_PER_MONTH
from neuron_exporter.model import Machine, Selection, Snapshot
from neuron_exporter.sinks.delivery.sender import Sender
from neuron_exporter.sinks.delivery.sink import (
    IDENTITY_TIMEOUT,
    MAX_WAIT,
    Connect,
    DeliveringSink,
    OpenSpool,
)
from neuron_exporter.sinks.delivery.transport import AcceptedAges, Verdict
from neuron_exporter.sinks.machine_labels import machine_labels, of_series
from neuron_exporter.sinks.otlp.budget import ByteBudget, ByteBudgetStatus
from neuron_exporter.sinks.otlp.encode import (
    EncodedMetric,
    Present,
    encode_ended,
    encode_requests,
    encoded_size,
    nanoseconds,
)
from neuron_exporter.sinks.otlp.own_metrics import OwnMetrics
from neuron_exporter.sinks.otlp.request import ExportRequest
from neuron_exporter.sinks.otlp.resource import resource_attributes
from neuron_exporter.sinks.otlp.settings import NAME, SinkSettings
from neuron_exporter.sinks.otlp.starts import Starts, StartTimes
from neuron_exporter.sinks.otlp.table import CommonLabels, PointTable
from neuron_exporter.telemetry import Telemetry

MAX_RESENT = 60
"""Requests that are sent in each interval, which is an hour's backlog if an interval has one."""

MAX_INTERVALS = 64
"""Intervals that wait to be encoded; beyond this number, the oldest is dropped and counted."""

MAX_REMEMBERED_RUNS = 1000
"""Runs of intervals without a gap whose ends are remembered as sent."""

ACCEPTED_AGES = AcceptedAges(past=14 * 86400.0, future=2 * 3600.0)
"""Those of PutMetricData, and of CloudWatch's spans. The limits for metrics are not public."""


class _Report(NamedTuple):
    """The snapshot of a report, and the starts of its counters."""

    snapshot: Snapshot
    starts: Starts


class _Interval(NamedTuple):
    """The end of an interval in Unix seconds, and the latest report then, if it was fresh."""

    end: float
    report: _Report | None


class OtlpSink(DeliveringSink[ExportRequest]):
    """Sends the values at the end of each interval at least once, in the order of time."""

    def __init__(
        self,
        selection: Selection,
        settings: SinkSettings,
        identity: Callable[[], Machine],
        connect: Connect[ExportRequest],
        telemetry: Telemetry,
        open_spool: OpenSpool[ExportRequest],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(
            NAME,
            settings.interval,
            identity,
            connect,
            telemetry,
            open_spool,
            clock,
            monotonic,
            spread=settings.spread,
        )
        self.selection = selection
        self._settings = settings
        self._reconfiguration: deque[tuple[Selection, SinkSettings]] = deque(maxlen=1)
        self._lock = threading.Lock()
        self._latest: dict[float, _Report] = {}
        self._starts = StartTimes(clock(), settings.interval, selection.rows)
        self._own = OwnMetrics(telemetry.registry, clock())
        self._budget = ByteBudget(settings.monthly_bytes, settings.keep, selection)
        self._unsent: list[_Interval] = []
        self._send_at = float("inf")
        self._lost = 0
        self._untried = 0
        self._runs: deque[tuple[float, float]] = deque(maxlen=MAX_REMEMBERED_RUNS)
        self._has_report = False
        self._table: PointTable | None = None
        self._present: Present = {}
        self._resource: dict[str, str] = {}
        self._resource_size = 0
        self._common = CommonLabels((), ())
        self._region = ""

    # From other threads.

    def offer(self, snapshot: Snapshot) -> None:
        """Keep a snapshot as the latest of its interval. Never waits for the network."""
        report = _Report(snapshot, self._starts.observe(snapshot))
        start = self._start_of(snapshot.taken_at.wall)
        with self._lock:
            for later in [each for each in self._latest if each > start]:
                del self._latest[later]  # the clock was set back
            self._latest[start] = report
            self._has_report = self._has_report or snapshot.health.alive
            if len(self._latest) > MAX_INTERVALS:
                del self._latest[min(self._latest)]
                self._lost += 1

    def reconfigure(self, selection: Selection, settings: SinkSettings) -> None:
        """Apply these from the next interval on. Only the selection and the budget may differ."""
        self._starts.select(selection.rows)
        self._reconfiguration.append((selection, settings))

    @property
    def budget_status(self) -> ByteBudgetStatus:
        """Status of the budget for the last interval."""
        return self._budget.status

    # The sink's thread.

    def _waiting(self) -> int:
        is_open = self._start_of(self._clock()) in self._latest
        return len(self._unsent) + is_open

    def _queued(self) -> int:
        """Leave out the requests of the last interval, whose first attempt is not due yet."""
        return max(0, super()._queued() - self._untried)

    def _due(self) -> float:
        """Return when an interval ends or requests are to be sent, in Unix seconds."""
        super()._due()  # corrects the end of the interval after the clock was set back
        if self._clock() + 2 * self._interval < self._send_at < float("inf"):
            self._send_at = self._next_end
        return min(self._next_end, self._send_at)

    def _cycle(self) -> None:
        if self._reconfiguration:
            self.selection, self._settings = self._reconfiguration.pop()
            settings = self._settings
            self._budget.configure(settings.monthly_bytes, settings.keep, self.selection)
        now = self._clock()
        if now < self._due():
            return
        if now >= self._next_end:
            self._unsent += self._take(now)
            self._send_at = min(self._send_at, self._next_end + self._slot.after_window())
            self._next_end = self._start_of(now) + self._interval
        if self._is_ready(wait=self._age_at(now) < IDENTITY_TIMEOUT):
            self._spool_unsent()
            if now >= self._send_at:
                self._send_at = float("inf")
                self._send(MAX_RESENT, self._must_pause)
        elif now >= self._send_at:
            self._send_at = now + MAX_WAIT
        with self._lock:
            lost, self._lost = self._lost + len(self._unsent[:-MAX_INTERVALS]), 0
        del self._unsent[:-MAX_INTERVALS]
        if lost:
            self._status.drop("too_many_windows", lost)
            self._status.record_failure(
                "TooManyWindows", f"{lost} intervals were dropped: sending takes too long"
            )

    def _flush_rest(self) -> None:
        now = self._clock()
        self._unsent += self._take(now)
        with self._lock:
            latest = self._latest.get(self._start_of(now))
            self._latest.clear()
        if latest is not None and latest.snapshot.is_fresh_at(now) and not self._is_sent(now):
            self._unsent.append(_Interval(now, latest))  # the open interval ends here
        if self._is_ready(wait=False):
            self._spool_unsent()
            self._send(self._backlog(), self._deadline_passed)

    def _take(self, now: float) -> Iterator[_Interval]:
        """Yield the intervals that have ended: those with a fresh report at their end, and the
        newest. After the clock was set back, none is sent again."""
        newest = self._start_of(now)
        with self._lock:
            earlier = sorted(start for start in self._latest if start < newest)
            reports = [self._latest[start] for start in earlier]
            for start in earlier[:-1]:
                del self._latest[start]
        end = max(self._next_end, newest - (MAX_INTERVALS - 1) * self._interval)
        while end <= newest:
            report = reports[number - 1] if (number := bisect_left(earlier, end)) else None
            if report is not None and not report.snapshot.is_fresh_at(end):
                report = None
            if self._is_sent(end):
                self._status.record_failure(
                    "ClockSetBack", "the clock was set back to a time that was sent already"
                )
            elif report is not None or end == newest:
                self._mark_sent(end)
                yield _Interval(end, report)
            end += self._interval

    def _is_sent(self, end: float) -> bool:
        return any(first <= end <= last for first, last in self._runs)

    def _mark_sent(self, end: float) -> None:
        if self._runs and self._runs[-1][1] + self._interval == end:
            self._runs[-1] = self._runs[-1][0], end
        else:
            self._runs.append((end, end))

    def _must_pause(self) -> bool:
        """Return whether a stop, or the end of an interval, comes before the backlog."""
        return self._stopping.is_set() or self._clock() >= self._next_end

    def _is_ready(self, *, wait: bool) -> bool:
        """Return whether the region and the fields of the spool's path are known. With `wait`, the
        machine's ID must be, too, and there must have been a healthy report."""
        if self._resource:
            return True
        machine = self._identity()
        unnamed = [field for field in self._settings.spool_names if not getattr(machine, field)]
        if wait and (unnamed or not machine.instance_id or not self._has_report):
            return False
        if self._settings.sigv4 and not machine.region:
            if not wait:
                message = "unknown for this machine: region"
                self._status.record_failure("IdentityIncomplete", message)
            return False
        self._region = machine.region if self._settings.sigv4 else ""
        # Series and resource must keep their labels and attributes from now on.
        labels, fixed = machine_labels(machine), self._settings.labels
        of_all = of_series(labels, self._settings.identity_labels)
        self._common = CommonLabels((*of_all, *fixed), (*labels, *fixed))
        self._resource = resource_attributes(machine, self._settings.resource_attributes)
        self._resource_size = encoded_size(self._resource)
        return True

    def _spool_unsent(self) -> None:
        """Encode the intervals, and write their requests to the spool."""
        while self._unsent:
            interval = self._unsent.pop(0)
            try:
                bodies = list(encode_requests(self._encode(interval), self._resource))
                self._telemetry.otlp_bytes.set(sum(map(len, bodies)))
                for body in bodies:
                    endpoint = self._settings.endpoint or ""
                    request = ExportRequest(endpoint, self._region, interval.end, body)
                    self._open_sender().spool.add(request)
                    self._untried += 1
            except Exception:
                self._status.drop("internal_error")
                raise

    def _encode(self, interval: _Interval) -> Iterator[EncodedMetric]:
        """Yield the metrics at the end of an interval, then the series that have ended."""
        time = nanoseconds(interval.end)
        present: Present = {}
        suppressed: frozenset[str] = frozenset()
        if interval.report is not None:
            snapshot, starts = interval.report
            table = self._table
            parts = snapshot.shape, self.selection, self._common, starts
            if table is None or not table.is_for(*parts):
                table = self._table = PointTable(*parts, interval.end, table)
            per_month = HOURS_PER_MONTH * 3600 / self._interval
            sizes = table.ingested_sizes(self._resource_size)
            sizes = {name: int(size * per_month) for name, size in sizes.items()}
            suppressed = self._budget.admit(sizes, interval.end)
            yield from table.encode(snapshot, time, suppressed, present)
        try:
            yield from list(self._own.encode(self._common.of_instance_info, time, present))
        except Exception as error:  # noqa: BLE001 (one of them must not cost the hardware's)
            self._status.record_failure(type(error).__name__, f"own metrics: {error}")
        self._telemetry.otlp_points.set(len(present))
        self._telemetry.otlp_budget_dropped.set(len(self._budget.status.suppressed))
        ended = {key: start for key, start in self._present.items() if key not in present}
        self._present = present
        yield from encode_ended(ended, time)

    def _open_sender(self) -> Sender[ExportRequest]:
        if self._sender is None:
            spool = self._open_spool(self._identity(), self._status.drop)
            self._sender = Sender(
                self._connect,
                spool,
                self._status,
                ACCEPTED_AGES,
                self._clock,
                probe=lambda: ExportRequest(
                    self._settings.endpoint or "", self._region, self._clock(), b""
                ),
                monotonic=self._monotonic,
            )
        return self._sender

    def _send(self, limit: int, should_stop: Callable[[], bool]) -> None:
        """Send up to `limit` requests, the oldest first."""
        sender = self._open_sender()
        self._untried = 0
        sender.spool.maintain()
        verdicts: set[Verdict] = set()
        try:
            sender.drain_backlog(verdicts, limit, should_stop)
        finally:
            self._status.show_spool(sender.spool)

    def status(self) -> Mapping[str, str]:
        """Return the status of the sink as text."""
        return {**super().status(), **self._budget.rows()}
