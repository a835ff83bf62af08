"""What happens to a line: decoded, collected, handed to every sink. Runs in the reader's thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

from neuron_exporter.identity.machine import Identity
from neuron_exporter.log import get_logger
from neuron_exporter.metrics.collector import Collected, Collector
from neuron_exporter.metrics.report_period import Period
from neuron_exporter.metrics.runtimes import MOST_RUNTIMES
from neuron_exporter.model import MetricSpec, Moment, Owners, Snapshot, SourceState
from neuron_exporter.report import Fault, ReportError, decode, unknown_fields
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.text import clean

MOST_SAID = 100
"""Different faults that are logged in the life of a daemon; all are counted."""

SURVEY_EVERY = 60.0
"""Seconds between two looks for fields that nobody here knows: they read a whole line slowly."""

IDENTITY_WAIT = 2.0
"""Seconds that the first report waits for those who are being asked who the machine is."""

_PERIOD_TOLERANCE = 0.5
_REPORTS_BEFORE_JUDGEMENT = 3
_STDERR_PER_MINUTE = 10

_log = get_logger(part="source")


See = Callable[[frozenset[int], frozenset[int]], None]
"""Is told of the processes of a report, and of the cores that they hold."""


class Sink(Protocol):
    """Something that takes snapshots."""

    @property
    def name(self) -> str:
        """What metrics and the log call it."""

    def offer(self, snapshot: Snapshot) -> None:
        """Take a snapshot. Never blocks, never raises."""


class Lane(NamedTuple):
    """A way from reports to sinks."""

    collector: Collector
    sinks: Sequence[Sink]


class Status(NamedTuple):
    """How the source is: its state and why, how many reports it gave, the period (s) that they
    cover, and the errors that groups carry now."""

    state: SourceState
    why: str
    reports: int
    period: float
    failing: Mapping[str, str]


class Intake:
    """Listens to the source and drives the pipeline.

    It says what changes, once: a state, a group that fails or recovers, a kind of fault. The first
    of the lanes is the one whose snapshots tell of the source.
    """

    def __init__(
        self,
        identity: Identity,
        lanes: Sequence[Lane],
        period: Period,
        owners: Callable[[], Owners],
        telemetry: Telemetry,
        see: See = lambda pids, cores: None,
    ) -> None:
        self._identity = identity
        self._main, *self._others = lanes
        self._period = period
        self._owners = owners
        self._see = see
        self._telemetry = telemetry
        self.on_tick: Callable[[], None] = lambda: None
        self._state = SourceState.STARTING
        self._detail = ""
        self._latest: Snapshot | None = None
        self._snapshots: tuple[Snapshot | None, Snapshot | None] = None, None
        self._count = 0
        self._said: set[str] = set()
        self._unknown: set[str] = set()
        self._next_survey = 0.0
        self._failing: dict[str, str] = {}
        self._period_judged = False
        self._asking = threading.Lock()
        self._asker: SimpleQueue[bytes] | None = None
        self._stderr_minute = 0.0
        self._stderr_said = 0
        self.has_verdict = False
        self._telemetry.up.set_function(self._up)
        self._telemetry.report_timestamp.set(0)

    # What the source tells.

    def line(self, line: memoryview, at: Moment) -> float | None:
        """Turn a line into a snapshot and offer it; gives its period, None for no report."""
        self._telemetry.source_bytes.inc(len(line) + 1)
        started = time.perf_counter()
        try:
            report, faults = decode(line)
        except ReportError as error:
            self._telemetry.report_errors.labels(error.reason).inc()
            self._say_once(f"line:{error.reason}", "line_unusable", reason=str(error))
            return None
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.put(bytes(line))
        decoded = time.perf_counter()
        self._telemetry.decode_seconds.observe(decoded - started)
        if faults:
            self._note_faults(faults)
        if at.monotonic >= self._next_survey:
            self._next_survey = at.monotonic + SURVEY_EVERY
            self._note_unknown(line)
        if self._latest is None:
            # Labels freeze with the first report. Whoever is asked is asked since the start, while
            # neuron-monitor took its first period.
            self._identity.settled.wait(IDENTITY_WAIT)
        machine = self._identity.observe(report.instance_info or report.instance_data)
        owners = self._owners()
        collected = self._main.collector.collect(report, at, machine, owners)
        self._telemetry.collect_seconds.observe(time.perf_counter() - decoded)
        self._see(collected.processes, collected.held)
        snapshot = collected.snapshot
        self._snapshots = snapshot, self._latest
        self._latest = snapshot
        self._count += 1
        self._telemetry.reports.inc()
        self._telemetry.report_timestamp.set(at.wall)
        self._telemetry.report_period.set(self._period.seconds)
        self._note_groups(collected)
        if collected.runtimes_left_out:
            errors = self._telemetry.report_errors.labels("too_many_runtimes")
            errors.inc(collected.runtimes_left_out)
            self._say_once("runtimes", "too_many_runtimes", most=str(MOST_RUNTIMES))
        if collected.series_dropped:
            self._telemetry.series_dropped.inc(collected.series_dropped)
            self._say_once("series", "too_many_series", dropped=str(collected.series_dropped))
        self._judge_period()
        self._enter(snapshot.health.state, "")
        for sink in self._main.sinks:
            with self._at_the_cost_of(sink):
                sink.offer(snapshot)
        for lane in self._others:
            with self._at_the_cost_of(*lane.sinks):
                other = lane.collector.collect(report, at, machine, owners).snapshot
                for sink in lane.sinks:
                    sink.offer(other)
        self.has_verdict = True
        return collected.covers

    def skipped(self, length: int) -> None:
        """Count a line that was too long."""
        self._telemetry.source_bytes.inc(length + 1)
        self._telemetry.report_errors.labels("too_long").inc()
        self._say_once("line:too_long", "line_unusable", reason=f"{length} bytes are too long")

    def state(self, state: SourceState, detail: str) -> None:
        """Show another state of the source."""
        self.has_verdict = True
        self._enter(state, detail)

    def restarting(self, reason: str, delay: float) -> None:
        """Count a restart."""
        self._telemetry.restarts.labels(reason).inc()
        self._next_survey = 0.0  # it may be another version that comes back
        _log.debug("restarting", reason=reason, delay=round(delay, 2))

    def stderr(self, line: str) -> None:
        """Count a line of the child's standard error, and log a few of them."""
        self._telemetry.stderr_lines.inc()
        now = time.monotonic()
        if now - self._stderr_minute > 60:
            self._stderr_minute, self._stderr_said = now, 0
        self._stderr_said += 1
        if self._stderr_said <= _STDERR_PER_MINUTE:
            _log.info("source_says", line=line)

    def tick(self) -> None:
        """Tell that the reader lives."""
        self.on_tick()

    # What others ask.

    def choose(self, rows_by_lane: Iterable[Iterable[MetricSpec]]) -> None:
        """Collect these rows from the next report on, in the order of the lanes."""
        for lane, rows in zip((self._main, *self._others), rows_by_lane, strict=True):
            lane.collector.choose(rows)

    def next_report(self, seconds: float) -> bytes | None:
        """The line of the next report, as it came; None where none comes in time, and at once
        where somebody else is waiting for it: who waits has one of few places."""
        if not self._asking.acquire(blocking=False):
            return None
        try:
            asker: SimpleQueue[bytes] = SimpleQueue()
            self._asker = asker
            return asker.get(timeout=seconds)
        except Empty:
            return None
        finally:
            self._asker = None
            self._asking.release()

    def status(self) -> Status:
        """How the source is."""
        return Status(self._state, self._detail, self._count, self._period.seconds, self._failing)

    def snapshots(self) -> tuple[Snapshot | None, Snapshot | None]:
        """The latest, and the one before it."""
        return self._snapshots

    def _up(self) -> float:
        latest = self._latest
        if latest is None or self._state is not SourceState.OK:
            return 0.0
        return float(latest.at(time.monotonic()).health.alive)

    # What is said.

    @contextmanager
    def _at_the_cost_of(self, *sinks: Sink) -> Iterator[None]:
        """A bug in what is done for these sinks costs them this report, and nobody else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 (one sink never takes another down)
            code = type(error).__name__
            for sink in sinks:
                self._telemetry.sink_errors.labels(sink.name, code).inc()
                self._say_once(
                    f"sink:{sink.name}:{code}", "sink_failed", sink=sink.name, error=repr(error)
                )

    def _enter(self, state: SourceState, detail: str) -> None:
        if state is not self._state or detail != self._detail:
            self._telemetry.set_source_state(state)
            say = _log.info if state is SourceState.OK else _log.warning
            say("source_state", state=state.value, **({"detail": detail} if detail else {}))
            self._state, self._detail = state, detail

    def _note_faults(self, faults: tuple[Fault, ...]) -> None:
        for path, problem, times in faults:
            self._telemetry.report_errors.labels("reading").inc(times)
            self._say_once(f"fault:{path}", "reading_unusable", path=path, problem=problem)

    def _note_unknown(self, line: memoryview) -> None:
        """Count and say what nobody here knows: a new SDK shows itself."""
        try:
            paths = unknown_fields(line)
        except ReportError:
            return  # read by type it is a report; what is in it besides is too deep to look at
        for path in map(clean, paths):
            if path not in self._unknown and len(self._unknown) < MOST_SAID:
                self._unknown.add(path)
                self._telemetry.unknown_fields.inc()
                _log.info("unknown_field", path=path)

    def _note_groups(self, collected: Collected) -> None:
        errors = collected.group_errors
        for group, count in errors.items():
            self._telemetry.group_errors.labels(group).inc(count)
            if group not in self._failing:
                _log.warning("group_failing", group=group, error=collected.error_texts[group])
        # A group that is not there has not recovered: short workers would make two lines each.
        recovered = (self._failing.keys() & collected.groups_read) - errors.keys()
        for group in sorted(recovered):
            _log.info("group_recovered", group=group)
        failing = {**self._failing, **{group: collected.error_texts[group] for group in errors}}
        self._failing = {group: text for group, text in failing.items() if group not in recovered}

    def _judge_period(self) -> None:
        """Say once when neuron-monitor does not keep the period that it was asked for."""
        asked = self._period.configured
        if self._period_judged or asked is None or self._count <= _REPORTS_BEFORE_JUDGEMENT:
            return
        self._period_judged = True
        got = self._period.seconds
        if abs(got - asked) > _PERIOD_TOLERANCE * asked:
            _log.warning("period_not_kept", asked=asked, got=round(got, 3))

    def _say_once(self, key: str, event: str, **fields: str) -> None:
        if key not in self._said and len(self._said) < MOST_SAID:
            self._said.add(key)
            _log.warning(event, **fields)
