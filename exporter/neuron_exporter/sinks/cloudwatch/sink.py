"""CloudWatch sink: a thread that sends each window when it is due."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from neuron_exporter.log import get_logger
from neuron_exporter.model import Machine, Selection, Snapshot
from neuron_exporter.sinks.cloudwatch.budget import Budget, BudgetReporter, BudgetStatus
from neuron_exporter.sinks.cloudwatch.datums import (
    ACCEPTED_AGES,
    MetricValues,
    batch_datums,
    build_datums,
    collect_heartbeats,
    collect_metrics,
    heartbeat_names,
)
from neuron_exporter.sinks.cloudwatch.dimensions import DimensionSet
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.cloudwatch.settings import NAME, SinkSettings
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from neuron_exporter.sinks.delivery.sender import Sender
from neuron_exporter.sinks.delivery.sink import (
    IDENTITY_TIMEOUT,
    Connect,
    DeliveringSink,
    OpenSpool,
)
from neuron_exporter.sinks.delivery.transport import Verdict
from neuron_exporter.telemetry import Telemetry

SOURCE_GRACE = 60.0
"""Seconds from the start during which a source without a report is not considered dead."""

MAX_RESENT = 10
"""Spooled requests that are sent with each new window. A fleet stays far below its quota after an
outage, and sends the backlog of a day in two and a half hours."""

MAX_REMEMBERED_HEARTBEATS = 1440
"""Windows whose heartbeat is remembered as sent: a day of minutes."""

_log = get_logger(sink=NAME)


class CloudWatchSink(DeliveringSink[PutMetricDataRequest]):
    """Collects snapshots in windows and delivers each at least once, from its own thread."""

    def __init__(
        self,
        selection: Selection,
        settings: SinkSettings,
        identity: Callable[[], Machine],
        connect: Connect[PutMetricDataRequest],
        telemetry: Telemetry,
        open_spool: OpenSpool[PutMetricDataRequest],
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
        self._windows = Windows(selection, settings.interval, settings.owner_groupings())
        self._budget = Budget(settings, selection)
        self._budget_reporter = BudgetReporter(telemetry)
        self._heartbeat_names = {*heartbeat_names(selection)}
        self._region = ""
        self._sets: list[DimensionSet] = []
        self._sets_age = 0.0
        self._unsent: list[Window] = []
        self._heartbeats_sent: dict[float, None] = {}

    # From other threads.

    def offer(self, snapshot: Snapshot) -> None:
        """Add a snapshot to its window. Never waits for the network."""
        self._windows.add(snapshot)

    def reconfigure(self, selection: Selection, settings: SinkSettings) -> None:
        """Apply these from the next cycle on, in 5 s at most.

        Only selection, dimensions and budget may differ, and the rows of the selection must be
        collected already. A window is sent as configured when it is due. Windows wait for the
        values of new dimensions as at the start.
        """
        self._reconfiguration.append((selection, settings))

    @property
    def budget_status(self) -> BudgetStatus:
        """Status of the budget for the last window."""
        return self._budget.status

    def status(self) -> Mapping[str, str]:
        """Return the status of the sink as text."""
        return {**super().status(), **self._budget_reporter.rows}

    # The sink's thread.

    def _waiting(self) -> int:
        return len(self._unsent) + len(self._windows)

    def _apply_reconfiguration(self) -> None:
        selection, settings = self._reconfiguration.pop()
        before, self._settings, self.selection = self._settings, settings, selection
        self._windows.reselect(selection, settings.owner_groupings(), self._monotonic())
        self._budget.configure(settings, selection)
        self._heartbeat_names |= heartbeat_names(selection)
        now = settings.dimension_sets, settings.extra_dimensions
        if now != (before.dimension_sets, before.extra_dimensions):
            self._sets, self._sets_age = [], self._age_at(self._clock())

    def _cycle(self) -> None:
        if self._reconfiguration:
            self._apply_reconfiguration()
        now = self._clock()
        if now < self._due():
            return
        until = self._windows.start_of(now - self._slot.after_window())
        self._next_end = until + self._settings.interval
        self._unsent += self._windows.take(until)
        if self._is_ready(wait=self._age_at(now) - self._sets_age < IDENTITY_TIMEOUT):
            # A stop interrupts the backlog, so that the last windows are sent first.
            self._send(MAX_RESENT, self._stopping.is_set)
        lost = self._windows.pop_lost_count()
        if lost:
            self._status.drop("too_many_windows", lost)
            self._status.record_failure(
                "TooManyWindows", f"{lost} windows were dropped: sending takes too long"
            )

    def _flush_rest(self) -> None:
        self._unsent += self._windows.take_rest()
        if self._is_ready(wait=False):
            # No heartbeat for the open window: the next process may send it.
            heartbeat_cutoff = self._windows.start_of(self._clock())
            self._send(self._backlog(), self._deadline_passed, heartbeat_cutoff)

    def _is_ready(self, *, wait: bool) -> bool:
        """Return whether the region and the values of a dimension set are known. With `wait`, the
        values of all sets and of the spool's path must be; without, incomplete sets are dropped."""
        if self._sets:
            return True
        machine = self._identity()
        region = self._settings.region or machine.region
        complete, missing = self._settings.resolve(machine)
        unnamed = [field for field in self._settings.spool_names if not getattr(machine, field)]
        if (missing or (unnamed and self._sender is None)) and wait:
            return False
        configured = len(self._settings.dimension_sets)
        self._telemetry.dropped_dimension_sets.set(configured - len(complete))
        needs_region = self._settings.needs_region and not region
        if not complete or needs_region:
            if self._unsent and not wait:
                self._status.drop("identity", len(self._unsent))
                self._unsent.clear()
                unknown = ", ".join([*missing, *(("region",) if needs_region else ())])
                self._status.record_failure(
                    "IdentityIncomplete", f"unknown for this machine: {unknown}"
                )
            return False
        if self._sender is None:  # its spool is for one region
            self._region = region
        self._sets = complete
        if missing:
            _log.warning("dimension_sets_dropped", missing=missing)
        return True

    def _send(
        self,
        max_resent: int,
        should_stop: Callable[[], bool],
        heartbeat_cutoff: float = float("inf"),
    ) -> None:
        """Send the unsent windows and up to `max_resent` spooled requests. Windows from
        `heartbeat_cutoff` on are sent without a heartbeat."""
        if self._sender is None:
            spool = self._open_spool(self._identity(), self._status.drop)
            self._sender = Sender(
                self._connect,
                spool,
                self._status,
                ACCEPTED_AGES,
                self._clock,
                to_spool=self._without_heartbeat,
            )
        sender = self._sender
        sender.spool.maintain()
        verdicts: set[Verdict] = set()
        try:
            while self._unsent:
                window = self._unsent.pop(0)
                try:
                    requests = self._requests(window, window.start < heartbeat_cutoff)
                    sender.send(requests, verdicts, self._deadline_passed)
                except Exception:
                    self._status.drop("internal_error")
                    raise
            sender.drain_backlog(verdicts, max_resent, should_stop)
        finally:
            self._status.show_spool(sender.spool)

    def _without_heartbeat(self, request: PutMetricDataRequest) -> PutMetricDataRequest | None:
        """Return the request to spool: a late heartbeat says nothing about the present."""
        names = self._heartbeat_names
        datums = [datum for datum in request.items if datum["MetricName"] not in names]
        return replace(request, items=datums) if datums else None

    def _requests(self, window: Window, with_heartbeat: bool) -> Iterator[PutMetricDataRequest]:
        metrics = self._heartbeats(window) if with_heartbeat else []
        metrics += collect_metrics(window, self.selection, self._sets)
        admitted = self._budget.admit(metrics, self._clock())
        self._budget_reporter.report(self._budget.status)
        for datums in batch_datums(build_datums(window, admitted)):
            yield PutMetricDataRequest(self._settings.namespace, self._region, window.start, datums)

    def _heartbeats(self, window: Window) -> list[MetricValues]:
        """Return the heartbeats of a window, unless the source is still within its grace period.

        A late report, or a clock that was set back, may open a window again: its heartbeats are
        returned once.
        """
        end = window.start + self._settings.interval
        if window.start in self._heartbeats_sent or (
            window.last_snapshot is None and self._age_at(end) < SOURCE_GRACE
        ):
            return []
        self._heartbeats_sent[window.start] = None
        while len(self._heartbeats_sent) > MAX_REMEMBERED_HEARTBEATS:
            del self._heartbeats_sent[next(iter(self._heartbeats_sent))]
        return collect_heartbeats(window, self._settings.interval, self.selection, self._sets)
