"""The source of reports: is its program there, does it report, as often as it was asked to?"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping

from neuron_exporter.config.schema import Config
from neuron_exporter.doctor.context import Case, Sample
from neuron_exporter.doctor.finding import Finding, Verdict, failed, ok, skipped, warning
from neuron_exporter.doctor.remedies import BY_STATE, of_group, when_heard
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collected, Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import Period
from neuron_exporter.model import Machine, Moment, Owners, SourceState
from neuron_exporter.pipeline.build import make_source
from neuron_exporter.report import Report, ReportError, decode
from neuron_exporter.source import Source, SourceError
from neuron_exporter.source.neuron_monitor import child_environment
from neuron_exporter.units import format_duration

SUBJECT = "source"

PATIENCE = 10.0
"""Seconds that the source has for a report, besides a period."""

LONGEST_PERIOD = 60.0
"""A second report, which shows the period, is waited for only where it comes that soon (s)."""

_TOLERANCE, _LEAST_TOLERANCE = 0.2, 0.5
"""A share of the period; and seconds, since one report may be late where little time is asked."""

_LONGEST_COMPLAINT = 200


def examine(case: Case) -> Iterator[Finding]:
    """Find the program; take its reports from the exporter that has them, or listen to it."""
    kind = case.config.source.kind
    program = _program(case) if kind == "neuron-monitor" else None
    if program is not None:
        yield program
    if kind == "stdin":
        yield skipped(SUBJECT, "reports come on the exporter's standard input, which is its own")
    elif case.is_running and case.exposed is None:
        yield skipped(
            SUBJECT,
            "not started a second time: an exporter runs, whose state could not be asked",
        )
    elif case.exposed is not None and case.exposed.source_state in _NOT_DISTURBED:
        yield from _as_exposed(case)
    elif program is None or program.verdict is Verdict.OK:
        yield from _listen(case)
    yield from _groups_exposed(case)


_NOT_DISTURBED = (SourceState.OK, SourceState.STARTING, SourceState.PAUSED)
"""States of a running exporter in which no other neuron-monitor is started: it has the devices
open, or must not, since the driver is being reset."""


def _program(case: Case) -> Finding:
    command = case.config.source.command
    path = child_environment(case.environment)["PATH"]
    program = shutil.which(command[0], path=path)
    if program is not None:
        return ok(SUBJECT, f"its program is {program}")
    if found := shutil.which(command[0], mode=0, path=path):
        return failed(SUBJECT, f"{found} may not be executed by this user", f"chmod a+x {found}")
    return failed(
        SUBJECT,
        f"{command[0]}: no such program in {path}",
        BY_STATE[SourceState.MISSING_PROGRAM],
    )


def _as_exposed(case: Case) -> Iterator[Finding]:
    exposed = case.exposed
    assert exposed is not None  # noqa: S101 (asked before)
    state = exposed.source_state
    if state != SourceState.OK:
        yield skipped(SUBJECT, f"not started a second time: the exporter's is {state}")
        return
    period = exposed.value("neuron_exporter_report_period_seconds")
    yield ok(SUBJECT, "the running exporter gets its reports: no second one was started")
    yield from _period(case.config, period)


def _groups_exposed(case: Case) -> Iterator[Finding]:
    """The groups with errors that a running exporter has counted, if no report was heard."""
    if case.exposed is None or case.report is not None:
        return
    reports = case.exposed.value("neuron_exporter_reports_total") or 0
    counts = case.exposed.by("neuron_exporter_group_errors_total", "group")
    texts = {group: f"{group} ({count:.0f})" for group, count in counts.items() if count}
    for fix, groups in _by_fix(texts):
        seen = f"groups with errors in {reports:.0f} reports of the exporter: {', '.join(groups)}"
        yield warning(SUBJECT, seen, fix)


def _by_fix(texts: Mapping[str, str]) -> Iterable[tuple[str, list[str]]]:
    """What is said of groups, gathered by what is to be done about them."""
    gathered: dict[str, list[str]] = {}
    for group in sorted(texts):
        gathered.setdefault(of_group(group), []).append(texts[group])
    return gathered.items()


def _period(config: Config, seen: float | None) -> Iterator[Finding]:
    asked = config.source.period
    if seen is None or config.source.kind not in ("neuron-monitor", "simulator"):
        return
    said = f"a report every {seen:.1f} s, asked for every {format_duration(asked)}"
    if abs(seen - asked) <= max(_TOLERANCE * asked, _LEAST_TOLERANCE):
        yield ok(SUBJECT, said)
    else:
        yield warning(
            SUBJECT, said, "the machine may be overloaded, or source.command has its own period"
        )


def _listen(case: Case) -> Iterator[Finding]:
    case.sample = sample = listen(case)
    config = case.config.source
    if sample.report is not None and case.identity is not None:
        case.identity.observe(sample.report.instance_info or sample.report.instance_data)
    if sample.state is SourceState.OK:
        yield ok(SUBJECT, f"it reports: {len(sample.line):,} bytes")
    else:
        seen = f"{sample.state.value}: {sample.detail}" if sample.detail else sample.state.value
        yield failed(SUBJECT, seen, when_heard(sample.state))
    if sample.interval is not None:
        yield from _period(case.config, sample.interval)
    elif sample.report is not None and config.period > LONGEST_PERIOD:
        yield skipped(SUBJECT, f"its period of {format_duration(config.period)} was not waited for")
    texts = {group: f"{group} ({text})" for group, text in sample.group_errors.items()}
    for fix, groups in _by_fix(texts):
        yield warning(SUBJECT, f"groups with errors: {', '.join(groups)}", fix)


def listen(case: Case) -> Sample:
    """Run the source as the daemon would, until two reports, its end, or its time is over."""
    rows = case.pipeline.rows if case.pipeline is not None else CATALOGUE
    source = make_source(case.loaded, rows)
    period = case.config.source.period
    limit = min(period, LONGEST_PERIOD) + PATIENCE
    ear = _Ear(source, reports=2 if period <= LONGEST_PERIOD else 1)
    timer = threading.Timer(limit, source.stop)
    timer.daemon = True
    timer.start()
    try:
        source.run(ear)
    except SourceError as error:
        ear.state(SourceState.EXITED, str(error))
    finally:
        timer.cancel()
    if ear.report is None:
        return Sample(*ear.verdict(limit))
    interval = ear.at[1] - ear.at[0] if len(ear.at) > 1 else None
    collected = _collect(case.config, ear.report)
    state = collected.snapshot.health.state
    return Sample(state, "", ear.bytes, ear.report, interval, dict(collected.error_texts))


def _collect(config: Config, report: Report) -> Collected:
    """What the exporter would make of a report, and which of its groups it would leave out."""
    counters = Counters(config.counters.ecc, config.counters.generic)
    collector = Collector(CATALOGUE, counters, Period(config.source.period))
    now = Moment(time.time(), time.monotonic())
    return collector.collect(report, now, Machine(), Owners())


class _Ear:
    """Listens to a source until it has heard enough."""

    def __init__(self, source: Source, reports: int) -> None:
        self._source = source
        self._wanted = reports
        self._last: tuple[SourceState, str] | None = None
        self._complaint = ""
        self._garbage = 0
        self.at: list[float] = []
        self.bytes = b""
        self.report: Report | None = None

    def verdict(self, limit: float) -> tuple[SourceState, str]:
        """What is wrong, where there was no report."""
        words = f"; its last words: {self._complaint}" if self._complaint else ""
        if self._last is not None:
            return self._last
        if self._garbage:
            seen = f"{self._garbage} line(s) in {limit:g} s, none of them a report"
            return SourceState.GARBAGE, seen + words
        return SourceState.STALLED, f"it said nothing for {limit:g} s{words}"

    def line(self, line: memoryview, at: Moment) -> float | None:
        """Keep a report."""
        try:
            self.report = decode(line).report
        except ReportError:
            self._garbage += 1
            return None
        self.bytes = bytes(line)
        self.at.append(at.monotonic)
        if len(self.at) >= self._wanted:
            self._source.stop()
        return 0.0

    def skipped(self, length: int) -> None:
        """A line that is too long is no report."""
        self._garbage += 1

    def state(self, state: SourceState, detail: str) -> None:
        """Remember how it ended."""
        if state is not SourceState.STARTING:
            self._last = state, detail

    def restarting(self, reason: str, delay: float) -> None:
        """Once is enough."""
        self._source.stop()

    def stderr(self, line: str) -> None:
        """Remember its last words."""
        self._complaint = line[:_LONGEST_COMPLAINT]

    def tick(self) -> None:
        """Nobody watches."""
