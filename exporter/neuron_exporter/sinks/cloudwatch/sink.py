"""CloudWatch sink: a thread that sends each window when it is due."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

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
from neuron_exporter.sinks.cloudwatch.settings import NAME, SinkSettings
from neuron_exporter.sinks.cloudwatch.window import Window, Windows
from neuron_exporter.sinks.delivery.jitter import SendSlot
from neuron_exporter.sinks.delivery.sender import Sender
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.status import DeliveryStatus
from neuron_exporter.sinks.delivery.transport import ATTEMPT_SECONDS, Request, Transport, Verdict
from neuron_exporter.telemetry import Telemetry

IDENTITY_TIMEOUT = 60.0
"""Seconds that windows wait for the values of their dimensions."""

SOURCE_GRACE = 60.0
"""Seconds from the start during which a source without a report is not considered dead."""

MAX_RESENT = 10
"""Spooled requests that are sent with each new window. A fleet stays far below its quota after an
outage, and sends the backlog of a day in two and a half hours."""

MAX_REMEMBERED_HEARTBEATS = 1440
"""Windows whose heartbeat is remembered as sent: a day of minutes."""

_MAX_WAIT = 5.0

_log = get_logger(sink=NAME)

T = TypeVar("T")

OnDrop = Callable[[str, int], None]
"""Called with a reason and a number of lost requests."""


class CloudWatchSink:
    """Collects snapshots in windows and delivers each at least once, from its own thread."""

    name = NAME

    def __init__(
        self,
        selection: Selection,
        settings: SinkSettings,
        identity: Callable[[], Machine],
        connect: Callable[[str], Transport],
        telemetry: Telemetry,
        open_spool: Callable[[Machine, OnDrop], Spool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`connect` opens a transport to a region, `open_spool` the spool of this machine. Both are
        called from the sink's thread."""
        self.selection = selection
        self._settings = settings
        self._identity = identity
        self._connect = connect
        self._open_spool = open_spool
        self._telemetry = telemetry
        self._clock = clock
        self._monotonic = monotonic
        self._reconfiguration: deque[tuple[Selection, SinkSettings]] = deque(maxlen=1)
        self._windows = Windows(selection, settings.interval, settings.owner_groupings())
        self._budget = Budget(settings, selection)
        self._budget_reporter = BudgetReporter(telemetry)
        self._heartbeat_names = {*heartbeat_names(selection)}
        self._sender: Sender | None = None
        self._region = ""
        self._sets: list[DimensionSet] = []
        self._sets_age = 0.0
        self._unsent: list[Window] = []
        self._started = monotonic()
        self._next_end = self._windows.start_of(clock()) + settings.interval
        self._status = DeliveryStatus(NAME, telemetry, clock)
        self._stopping = threading.Event()
        self._slot = SendSlot(identity, settings.interval, spread=settings.spread)
        self._stop_timeout = 0.0
        self._last_attempt_at = float("inf")
        self._heartbeats_sent: dict[float, None] = {}
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        telemetry.sink_queue.labels(NAME).set_function(self._backlog)

    # From other threads.

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

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

    def run_once(self) -> None:
        """Run one cycle synchronously, without the sink's thread (dry runs and tests)."""
        self._guarded(self._cycle, None)

    def close(self, timeout: float) -> bool:
        """Send the remaining windows and requests within `timeout` seconds; return whether the
        thread has ended."""
        self._stop_timeout = timeout
        self._last_attempt_at = time.monotonic() + timeout - min(ATTEMPT_SECONDS, timeout / 2)
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        ended = not self._thread.is_alive()
        if not ended:
            self._log_losses()
        return ended

    @property
    def budget_status(self) -> BudgetStatus:
        """Status of the budget for the last window."""
        return self._budget.status

    @property
    def is_endless(self) -> bool:
        """Whether the sink's thread is in an endless loop."""
        return self._status.progress.is_endless

    @property
    def failing_since(self) -> float | None:
        """Unix time at which the sink ceased to deliver; None while it does not fail."""
        return self._status.failing_since

    def status(self) -> Mapping[str, str]:
        """Return the status of the sink as text."""
        return {
            "state": self._status.state,
            "queued requests": str(self._backlog()),
            **self._status.spool_rows,
            **self._budget_reporter.rows,
        }

    # The sink's thread.

    def _run(self) -> None:
        try:
            while not self._stopping.wait(self._guarded(self._wait_seconds, _MAX_WAIT)):
                self._guarded(self._cycle, None)
            if self._unsent or self._backlog() or len(self._windows):
                # A request that is throttled now would have to wait for the next start.
                time.sleep(self._guarded(lambda: self._slot.at_stop(self._stop_timeout), 0.0))
            self._guarded(self._flush_rest, None)
            if self._sender is not None and (spooled := self._sender.close()):
                _log.info("requests_spooled", requests=spooled)
        except BaseException as error:  # noqa: BLE001 (the other threads go on; report it here)
            self._status.thread_died(error)
        self._log_losses()

    def _guarded(self, step: Callable[[], T], default: T) -> T:
        """Return the step's result; after an error, report it and return the default."""
        try:
            return step()
        except Exception as error:  # noqa: BLE001 (a bug in one sink must not affect the others)
            self._status.record_failure(type(error).__name__, f"internal error: {error}")
            self._next_end = self._windows.start_of(self._clock()) + self._settings.interval
            return default
        finally:
            self._status.evaluate()

    def _log_losses(self) -> None:
        windows = len(self._unsent) + len(self._windows)
        requests = 0 if self._sender is None else self._sender.spool.volatile
        if requests or windows:
            _log.warning("data_lost", requests=requests, windows=windows)

    def _backlog(self) -> int:
        return 0 if self._sender is None else len(self._sender.spool)

    def _wait_seconds(self) -> float:
        """Return the seconds until the next window is due, short enough to notice a clock step."""
        return min(_MAX_WAIT, max(0.0, self._due() - self._clock()))

    def _due(self) -> float:
        """Return when the next windows are to be sent, in Unix seconds."""
        now = self._clock()
        if self._next_end > now + 2 * self._settings.interval:  # the clock was set back
            self._next_end = self._windows.start_of(now) + self._settings.interval
        return self._next_end + self._slot.after_window()

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

    def _deadline_passed(self) -> bool:
        """Return whether a stop leaves no time for another attempt."""
        return time.monotonic() > self._last_attempt_at

    def _age_at(self, wall: float) -> float:
        """Return how long the sink had been running at a moment. Clock steps do not change it."""
        return self._monotonic() - self._started - (self._clock() - wall)

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
                confirms_clock=self._settings.needs_region,
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

    def _without_heartbeat(self, request: Request) -> Request | None:
        """Return the request to spool: a late heartbeat says nothing about the present."""
        names = self._heartbeat_names
        datums = [datum for datum in request.items if datum["MetricName"] not in names]
        return replace(request, items=datums) if datums else None

    def _requests(self, window: Window, with_heartbeat: bool) -> Iterator[Request]:
        metrics = self._heartbeats(window) if with_heartbeat else []
        metrics += collect_metrics(window, self.selection, self._sets)
        admitted = self._budget.admit(metrics, self._clock())
        self._budget_reporter.report(self._budget.status)
        for datums in batch_datums(build_datums(window, admitted)):
            yield Request(self._settings.namespace, self._region, window.start, datums)

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
