"""Process the lines of the source: decode, collect, and offer snapshots to the sinks.

Runs in the reader's thread.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from neuron_exporter.identity.machine import Identity
from neuron_exporter.log import get_logger
from neuron_exporter.metrics.collector import Collector, CollectResult
from neuron_exporter.metrics.counters import MAX_RETIRED_SERIES
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.runtimes import MAX_CORES_LISTED, MAX_RUNTIMES
from neuron_exporter.model import MetricSpec, Owners, Snapshot, SourceState, Timestamp
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.report import InvalidField, ReportError, decode, unknown_fields
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.text import safe_message, sanitize_text

MAX_LOGGED_KINDS = 100
"""Limit of distinct problems that are logged, all of which are counted, and of unknown fields that
are counted and logged."""

UNKNOWN_FIELD_SCAN_INTERVAL = 60.0
"""Seconds between two scans of a report for unknown fields."""

MAX_REMEMBERED_RESTARTS = 1000
"""Restarts of the source whose time and reason are remembered."""

IDENTITY_WAIT = 2.0
"""Seconds that the first report waits for the first lookup of the machine's identity."""

_PERIOD_TOLERANCE = 0.5
_REPORTS_BEFORE_PERIOD_CHECK = 3
_STDERR_PER_MINUTE = 10

_log = get_logger(part="source")

ProcessObserver = Callable[[frozenset[int], frozenset[int]], None]
"""Called with the process IDs of a report and the cores that these processes use."""


class Sink(Protocol):
    """Publisher of snapshots."""

    @property
    def name(self) -> str:
        """The name in metrics and in the log."""

    def offer(self, snapshot: Snapshot) -> None:
        """Take over a snapshot, without blocking and without raising."""


class Branch(NamedTuple):
    """A collector and the sinks that publish its snapshots."""

    collector: Collector
    sinks: Sequence[Sink]


class SourceStatus(NamedTuple):
    """State of the source and its reason, the number of reports so far, their period in seconds,
    and the current error text of each failing group."""

    state: SourceState
    reason: str
    reports: int
    period: float
    failing_groups: Mapping[str, str]


class ReportProcessor:
    """Listener of the source that feeds the branches.

    Each change of the state or of a failing group is logged, and each kind of problem once. Health
    and the page are based on the snapshots of the first branch.
    """

    def __init__(
        self,
        identity: Identity,
        branches: Sequence[Branch],
        period: ReportPeriod,
        owners: Callable[[], Owners],
        telemetry: Telemetry,
        observe_processes: ProcessObserver = lambda pids, cores: None,
        hardware: Callable[[], HardwareReadings] = lambda: NO_READINGS,
    ) -> None:
        self._identity = identity
        self._main, *self._others = branches
        self._period = period
        self._owners = owners
        self._observe_processes = observe_processes
        self._hardware = hardware
        self._telemetry = telemetry
        self.heartbeat: Callable[[], None] = lambda: None
        self._state = SourceState.STARTING
        self._detail = ""
        self._snapshots: tuple[Snapshot | None, Snapshot | None] = None, None
        self._count = 0
        self._logged: set[str] = set()
        self._unknown: set[str] = set()
        self._next_scan = 0.0
        self._failing_groups: dict[str, str] = {}
        self._period_checked = False
        self._waiter_lock = threading.Lock()
        self._waiter: SimpleQueue[bytes] | None = None
        self._stderr_minute = 0.0
        self._stderr_logged = 0
        self.is_ready = False
        self.restarts: deque[tuple[Timestamp, str]] = deque(maxlen=MAX_REMEMBERED_RESTARTS)
        self._telemetry.up.set_function(self._up)
        self._telemetry.report_timestamp.set(0)

    # Callbacks of the source

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Offer the snapshot of a report to the sinks; return its period, None for other lines."""
        self._telemetry.source_bytes.inc(len(line) + 1)
        started = time.perf_counter()
        try:
            report, invalid_fields = decode(line)
        except ReportError as error:
            self._telemetry.report_errors.labels(error.reason).inc()
            self._log_once(f"line:{error.reason}", "report_invalid", reason=str(error))
            return None
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.put(bytes(line))
        decoded = time.perf_counter()
        self._telemetry.decode_seconds.observe(decoded - started)
        if invalid_fields:
            self._count_invalid_fields(invalid_fields)
        if at.monotonic >= self._next_scan and len(self._unknown) < MAX_LOGGED_KINDS:
            self._next_scan = at.monotonic + UNKNOWN_FIELD_SCAN_INTERVAL
            self._count_unknown_fields(line)
        latest, _ = self._snapshots
        if latest is None:
            # Labels are fixed by the first report. The lookups began at the start of the exporter,
            # one period of neuron-monitor ago.
            self._identity.first_lookup_done.wait(IDENTITY_WAIT)
        machine = self._identity.observe(report.instance_info or report.instance_data)
        owners, hardware = self._owners(), self._hardware()
        collected = self._main.collector.collect(report, at, machine, owners, hardware)
        self._telemetry.collect_seconds.observe(time.perf_counter() - decoded)
        if collected.processes is not None:  # else the processes of the report before still run
            self._observe_processes(collected.processes, collected.used_cores)
        snapshot = collected.snapshot
        for sink in self._main.sinks:
            with self._isolated(sink):
                sink.offer(snapshot)
        for branch in self._others:
            with self._isolated(*branch.sinks):
                other = branch.collector.collect(report, at, machine, owners, hardware).snapshot
                for sink in branch.sinks:
                    sink.offer(other)
        self._snapshots = snapshot, latest
        self._count += 1
        self._telemetry.report_timestamp.set(at.wall)
        self._telemetry.report_period.set(self._period.seconds)
        self._count_group_errors(collected)
        if collected.runtimes_dropped:
            errors = self._telemetry.report_errors.labels("too_many_runtimes")
            errors.inc(collected.runtimes_dropped)
            limit = f"{MAX_RUNTIMES} runtimes that list {MAX_CORES_LISTED} cores"
            self._log_once("runtimes", "too_many_runtimes", limit=limit)
        self._count_unknown(collected.unknown_names)
        if collected.series_evicted:
            self._telemetry.series_evicted.inc(collected.series_evicted)
            limit = str(MAX_RETIRED_SERIES)
            self._log_once("retired_series", "too_many_retired_series", limit=limit)
        if collected.series_dropped:
            self._telemetry.series_dropped.inc(collected.series_dropped)
            self._log_once("series", "too_many_series", dropped=str(collected.series_dropped))
        self._check_period()
        self._set_state(snapshot.health.state, "")
        self.is_ready = True
        # Only now: a scrape that shows this report also has its samples, errors and state.
        self._telemetry.reports.inc()
        return collected.report_period

    def on_skipped(self, length: int) -> None:
        """Count a line that was dropped because of its length."""
        self._telemetry.source_bytes.inc(length + 1)
        self._telemetry.report_errors.labels("too_long").inc()
        reason = f"line of {length} bytes is too long"
        self._log_once("line:too_long", "report_invalid", reason=reason)

    def on_state(self, state: SourceState, detail: str) -> None:
        """Record a state of the source."""
        self.is_ready = True
        self._set_state(state, detail)

    def on_restart(self, reason: str, delay: float) -> None:
        """Count a restart."""
        self._telemetry.restarts.labels(reason).inc()
        self.restarts.append((Timestamp(time.time(), time.monotonic()), reason))
        self._next_scan = 0.0  # the new process may be another version
        _log.debug("source_restarting", reason=reason, delay=round(delay, 2))

    def on_stderr(self, line: str) -> None:
        """Count a line of the child's standard error, and log the first ten per minute."""
        self._telemetry.stderr_lines.inc()
        now = time.monotonic()
        if now - self._stderr_minute > 60:
            self._stderr_minute, self._stderr_logged = now, 0
        self._stderr_logged += 1
        if self._stderr_logged <= _STDERR_PER_MINUTE:
            _log.info("source_stderr", line=line)

    def on_tick(self) -> None:
        """Report that the reader's thread is alive."""
        self.heartbeat()

    # Called by other threads

    def add_sink(self, sink: Sink) -> None:
        """Offer every later snapshot of the first branch to this sink as well."""
        self._main = self._main._replace(sinks=(*self._main.sinks, sink))

    def set_rows(self, rows_by_branch: Iterable[Iterable[MetricSpec]]) -> None:
        """Set the rows that each branch collects from the next report on."""
        for branch, rows in zip((self._main, *self._others), rows_by_branch, strict=True):
            branch.collector.set_rows(rows)

    def next_report(self, seconds: float) -> bytes | None:
        """Return the line of the next report, or None after `seconds` without one.

        Only one caller may wait, since waiting occupies an HTTP worker; others get None at once.
        """
        if not self._waiter_lock.acquire(blocking=False):
            return None
        try:
            waiter: SimpleQueue[bytes] = SimpleQueue()
            self._waiter = waiter
            return waiter.get(timeout=seconds)
        except Empty:
            return None
        finally:
            self._waiter = None
            self._waiter_lock.release()

    def status(self) -> SourceStatus:
        """Return the status of the source."""
        return SourceStatus(
            self._state, self._detail, self._count, self._period.seconds, self._failing_groups
        )

    def snapshots(self) -> tuple[Snapshot | None, Snapshot | None]:
        """Return the latest snapshot and the one before it."""
        return self._snapshots

    def _up(self) -> float:
        latest, _ = self._snapshots
        if latest is None or self._state is not SourceState.OK:
            return 0.0
        return float(latest.as_of(time.monotonic()).health.alive)

    # Counting and logging

    @contextmanager
    def _isolated(self, *sinks: Sink) -> Iterator[None]:
        """Confine an exception to these sinks, which miss this report."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (a bug in one sink must not stop the others)
            code = type(error).__name__
            for name in (sink.name for sink in sinks):
                self._telemetry.sink_errors.labels(name, code).inc()
                self._log_once(f"sink:{name}:{code}", "sink_failed", sink=name, error=repr(error))

    def _set_state(self, state: SourceState, detail: str) -> None:
        detail = safe_message(detail)
        if state is not self._state or detail != self._detail:
            self._telemetry.set_source_state(state)
            write = _log.info if state is SourceState.OK else _log.warning
            write("source_state", state=state.value, **({"detail": detail} if detail else {}))
            self._state, self._detail = state, detail

    def _count_invalid_fields(self, invalid_fields: tuple[InvalidField, ...]) -> None:
        for path, problem, times in invalid_fields:
            self._telemetry.report_errors.labels("reading").inc(times)
            self._log_once(f"field:{path}", "field_invalid", path=path, problem=problem)

    def _count_unknown_fields(self, line: memoryview) -> None:
        """Count and log the fields that this version does not know, which a new SDK adds."""
        try:
            paths = unknown_fields(line, self._unknown)
        except ReportError:
            return  # the known fields were valid; the unknown ones are nested too deeply
        self._count_unknown(paths)

    def _count_unknown(self, paths: Iterable[str]) -> None:
        for path in map(sanitize_text, paths):
            if path not in self._unknown and len(self._unknown) < MAX_LOGGED_KINDS:
                self._unknown.add(path)
                self._telemetry.unknown_fields.inc()
                _log.info("unknown_field", path=path)

    def _count_group_errors(self, collected: CollectResult) -> None:
        errors = collected.group_errors
        for group, count in errors.items():
            self._telemetry.group_errors.labels(group).inc(count)
            if group not in self._failing_groups:
                _log.warning("group_failing", group=group, error=collected.error_texts[group])
        # A missing group has not recovered; otherwise, each short-lived worker would log twice.
        recovered = (self._failing_groups.keys() & collected.groups_read) - errors.keys()
        for group in sorted(recovered):
            _log.info("group_recovered", group=group)
        # A new mapping, since other threads read the old one.
        failing = self._failing_groups | {group: collected.error_texts[group] for group in errors}
        self._failing_groups = {
            group: failing[group] for group in failing if group not in recovered
        }

    def _check_period(self) -> None:
        """Log once if neuron-monitor reports in another period than requested."""
        requested = self._period.configured
        if self._period_checked or requested is None or self._count <= _REPORTS_BEFORE_PERIOD_CHECK:
            return
        self._period_checked = True
        observed = self._period.seconds
        if abs(observed - requested) > _PERIOD_TOLERANCE * requested:
            _log.warning("report_period_mismatch", requested=requested, observed=round(observed, 3))

    def _log_once(self, key: str, event: str, **fields: str) -> None:
        if key not in self._logged and len(self._logged) < MAX_LOGGED_KINDS:
            self._logged.add(key)
            _log.warning(event, **fields)
