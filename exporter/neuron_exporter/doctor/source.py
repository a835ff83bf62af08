"""Check the source: its program, its reports, their period, and groups with errors."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from neuron_exporter.config.schema import Config
from neuron_exporter.doctor.context import Context, Sample
from neuron_exporter.doctor.finding import Finding, Subject, Verdict
from neuron_exporter.doctor.remedies import BY_STATE, for_group, for_sampled_state
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector, CollectResult
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.model import Machine, Owners, SourceState, Timestamp
from neuron_exporter.pipeline.source import is_simulated, make_source
from neuron_exporter.report import Report, ReportError, decode
from neuron_exporter.source import Source, SourceError
from neuron_exporter.source.environment import child_environment
from neuron_exporter.text import format_duration

SUBJECT = Subject("source")

REPORT_TIMEOUT = 10.0
"""Seconds to wait for a report, in addition to one period."""

MAX_PERIOD = 60.0
"""Longest period (s) for which the doctor waits for a second report, which shows the period."""

_TOLERANCE, _MIN_TOLERANCE = 0.2, 0.5
"""Tolerated deviation: a share of the period, but at least so many seconds, since a single report
may be late."""

_MAX_STDERR = 200
"""Characters shown of the last stderr line."""


def check(context: Context) -> Iterator[Finding]:
    """Find the program, then read its reports from a running exporter or by running it."""
    kind = context.config.source.kind
    program = _program(context) if kind == "neuron-monitor" else None
    if program is not None:
        yield program
    if kind == "stdin":
        seen = "reports come on the exporter's standard input, which the doctor cannot read"
        yield SUBJECT.skipped(seen)
    elif context.is_running and context.scraped is None:
        seen = "not started a second time: an exporter runs, and its state could not be read"
        yield SUBJECT.skipped(seen)
    elif context.scraped is not None and context.scraped.source_state in _DO_NOT_START_IN:
        yield from _from_metrics(context)
    elif program is None or program.verdict is Verdict.OK:
        yield from _sample(context)
    yield from _group_counters(context)
    if _is_simulated(context):
        seen = "the reports are simulated or replayed, not measured on this machine"
        yield SUBJECT.warning(
            seen, "to measure, set source.kind to neuron-monitor, and its command"
        )


def _is_simulated(context: Context) -> bool:
    """Return whether the running exporter, or what the doctor read itself, has no measurements."""
    if context.scraped is not None:
        return context.scraped.value("neuron_exporter_source_simulated") == 1
    return context.identity is not None and is_simulated(context.config.source, context.identity)


_DO_NOT_START_IN = (SourceState.OK, SourceState.STARTING, SourceState.PAUSED)
"""States of a running exporter in which no second neuron-monitor is started: the first one has the
devices open, or nothing may open them while the driver is reset."""


def _program(context: Context) -> Finding:
    command = context.config.source.command
    added = context.config.source.variables()
    path = child_environment(context.environment, added)["PATH"]
    program = shutil.which(command[0], path=path)
    if program is not None:
        return SUBJECT.ok(f"the program is {program}")
    if found := shutil.which(command[0], mode=0, path=path):
        return SUBJECT.failed(f"{found} is not executable for this user", f"chmod a+x {found}")
    seen = f"{command[0]}: not found in {path}"
    return SUBJECT.failed(seen, BY_STATE[SourceState.MISSING_PROGRAM])


def _from_metrics(context: Context) -> Iterator[Finding]:
    scraped = context.scraped
    assert scraped is not None  # noqa: S101 # the caller checked
    state = scraped.source_state
    if state != SourceState.OK:
        seen = f"not started a second time: the source of the running exporter is {state}"
        yield SUBJECT.skipped(seen)
        return
    yield SUBJECT.ok("not started a second time: the running exporter receives reports")
    yield from _period(context.config, scraped.value("neuron_exporter_report_period_seconds"))


def _group_counters(context: Context) -> Iterator[Finding]:
    """Report the group errors that a running exporter counted, unless a report was sampled."""
    if context.scraped is None or context.report is not None:
        return
    reports = context.scraped.value("neuron_exporter_reports_total") or 0
    counts = context.scraped.values_by("neuron_exporter_group_errors_total", "group")
    texts = {group: f"{group} ({count:.0f})" for group, count in counts.items() if count}
    yield from _group_errors(f"groups with errors in the exporter's {reports:.0f} reports", texts)


def _group_errors(seen: str, texts: Mapping[str, str]) -> Iterator[Finding]:
    """Yield one warning for all groups with the same fix."""
    by_fix = defaultdict(list)
    for group in sorted(texts):
        by_fix[for_group(group)].append(texts[group])
    for fix, groups in by_fix.items():
        yield SUBJECT.warning(f"{seen}: {', '.join(groups)}", fix)


def _period(config: Config, observed: float | None) -> Iterator[Finding]:
    configured = config.source.period
    if observed is None or config.source.kind not in ("neuron-monitor", "simulator"):
        return
    seen = f"one report every {observed:.1f} s (source.period is {format_duration(configured)})"
    if is_near(observed, configured):
        yield SUBJECT.ok(seen)
    else:
        fix = "the machine may be overloaded, or source.command sets its own period"
        yield SUBJECT.warning(seen, fix)


def is_near(observed: float, configured: float) -> bool:
    """Return whether a period (s) is the configured one, as far as its readings can show."""
    return abs(observed - configured) <= max(_TOLERANCE * configured, _MIN_TOLERANCE)


def _sample(context: Context) -> Iterator[Finding]:
    context.sample = sample = take_sample(context)
    config = context.config.source
    if sample.report is not None and context.identity is not None:
        context.identity.observe(sample.report.instance_info or sample.report.instance_data)
    if sample.state is SourceState.OK:
        yield SUBJECT.ok(f"it sends reports (the last one: {len(sample.line):,} bytes)")
    else:
        seen = f"{sample.state.value}: {sample.detail}" if sample.detail else sample.state.value
        yield SUBJECT.failed(seen, for_sampled_state(sample.state))
    if sample.interval is not None:
        yield from _period(context.config, sample.interval)
    elif sample.report is not None and config.period > MAX_PERIOD:
        seen = f"the period was not measured: {format_duration(config.period)} is too long to wait"
        yield SUBJECT.skipped(seen)
    texts = {group: f"{group} ({text})" for group, text in sample.group_errors.items()}
    yield from _group_errors("groups with errors", texts)


def take_sample(context: Context) -> Sample:
    """Run the source as the daemon does, until it sent two reports, ended, or reached its time
    limit."""
    rows = context.pipeline.rows if context.pipeline is not None else CATALOGUE
    source = make_source(context.loaded, rows)
    period = context.config.source.period
    timeout = min(period, MAX_PERIOD) + REPORT_TIMEOUT
    listener = _ProbeListener(source, reports=2 if period <= MAX_PERIOD else 1)
    timer = threading.Timer(timeout, source.stop)
    timer.daemon = True
    timer.start()
    try:
        source.run(listener)
    except SourceError as error:
        listener.on_state(SourceState.EXITED, str(error))
    finally:
        timer.cancel()
    if listener.report is None:
        return Sample(*listener.failure(timeout))
    interval = listener.at[1] - listener.at[0] if len(listener.at) > 1 else None
    collected = _collect(context.config, listener.report)
    state = collected.snapshot.health.state
    return Sample(state, "", listener.line, listener.report, interval, dict(collected.error_texts))


def _collect(config: Config, report: Report) -> CollectResult:
    """Collect a report as the exporter does, to find its state and its groups with errors."""
    counters = Counters(config.counters.ecc, config.counters.generic)
    collector = Collector(CATALOGUE, counters, ReportPeriod(config.source.period))
    now = Timestamp(time.time(), time.monotonic())
    return collector.collect(report, now, Machine(), Owners())


class _ProbeListener:
    """Listener that stops the source after so many reports, or as soon as it ends."""

    def __init__(self, source: Source, reports: int) -> None:
        self._source = source
        self._wanted = reports
        self._end: tuple[SourceState, str] | None = None
        self._last_stderr = ""
        self._invalid = 0
        self.at: list[float] = []
        self.line = b""
        self.report: Report | None = None

    def failure(self, timeout: float) -> tuple[SourceState, str]:
        """Return the state of a source that sent no report, and the details."""
        if self._end is not None:
            return self._end
        stderr = f"; last stderr line: {self._last_stderr}" if self._last_stderr else ""
        if self._invalid:
            detail = f"{self._invalid} line(s) in {timeout:g} s, none of them a report"
            return SourceState.GARBAGE, detail + stderr
        return SourceState.STALLED, f"no output for {timeout:g} s{stderr}"

    def on_line(self, line: memoryview, at: Timestamp) -> float | None:
        """Decode a report, and stop the source after the last one."""
        try:
            self.report = decode(line).report
        except ReportError:
            self._invalid += 1
            return None
        self.line = bytes(line)
        self.at.append(at.monotonic)
        if len(self.at) >= self._wanted:
            self._source.stop()
        return 0.0

    def on_skipped(self, length: int) -> None:
        """Count a line that is too long for a report."""
        self._invalid += 1

    def on_state(self, state: SourceState, detail: str) -> None:
        if state is not SourceState.STARTING:
            self._end = state, detail

    def on_restart(self, reason: str, delay: float) -> None:
        """Stop the source instead of waiting for its restart."""
        self._source.stop()

    def on_stderr(self, line: str) -> None:
        self._last_stderr = line[:_MAX_STDERR]

    def on_tick(self) -> None:
        """Do nothing: the timer bounds the run."""
