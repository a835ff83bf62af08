"""Assumptions on the stream: its lines, periods, groups, fields and names."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import (
    Judgement,
    NotSeen,
    assumption,
    contradicted,
    held,
    held_if,
    require,
)
from neuron_exporter.doctor.acceptance.seen.stream import StreamSeen
from neuron_exporter.doctor.finding import format_count, format_names
from neuron_exporter.doctor.source import is_near
from neuron_exporter.metrics.report_period import RUNTIME_GROUPS, SYSTEM_GROUPS
from neuron_exporter.model import Group
from neuron_exporter.source.watchdog import START_UP_PERIOD

_MIN_INTERVALS = 3
_NO_REPORT = "no report was read"
_NOT_CONFIGURED = "the exporter has not configured this stream"


@assumption(
    "lines",
    "neuron-monitor keeps running, and each line that it prints is a report",
    "source/neuron_monitor.py",
)
def judge_lines(evidence: Evidence) -> Judgement:
    stream = evidence.stream
    seen = f"{format_count(stream.reports, 'report')}, the longest of {stream.longest:,} bytes"
    problems = [f"{count} {reason}" for reason, count in stream.invalid_lines.items()]
    problems += [f"a restart: {reason}" for reason in stream.restarts[:3]]
    if problems:
        return contradicted(f"{seen}; {'; '.join(problems)}")
    require(not evidence.is_replayed, f"{seen}; a recording has no other lines")
    require(stream.reports, _NO_REPORT)
    return held(seen)


@assumption(
    "line-length",
    "A report is at most half as long as source.max_line allows",
    "source/stream.py",
)
def judge_max_line(evidence: Evidence) -> Judgement:
    longest = _read(evidence).longest
    seen = f"the longest has {longest:,} bytes, source.max_line is {evidence.max_line:,}"
    return held_if(2 * longest <= evidence.max_line, seen)


@assumption(
    "first-report",
    "The first report covers less than 0.5 s, and no later one does",
    "source/watchdog.py",
)
def judge_first_report(evidence: Evidence) -> Judgement:
    first = evidence.stream.first_periods if evidence.is_own_child else []
    require(first, "the first report of neuron-monitor was not read")
    later = [each for many in evidence.stream.later_periods.values() for each in many]
    seen = f"its groups cover {_range(first)} s"
    if later:
        seen += f", those of later reports {_range(later)} s"
    if max(first) >= START_UP_PERIOD or min(later, default=1.0) < START_UP_PERIOD:
        return contradicted(seen)
    require(later, f"{seen}; there was no other report")
    return held(seen)


@assumption(
    "period", "Reports and their groups have the configured period", "metrics/report_period.py"
)
def judge_period(evidence: Evidence) -> Judgement:
    configured, stream = evidence.period, evidence.stream
    if configured is None:
        raise NotSeen(_NOT_CONFIGURED)
    if len(stream.intervals) < _MIN_INTERVALS:
        raise NotSeen(f"only {format_count(stream.reports, 'report')} in a row")
    interval = median(stream.intervals)
    seen = f"configured {configured:g} s; a report every {interval:.2f} s"
    seen += f" ({_range(stream.intervals)})"
    covered = [median(many) for many in stream.later_periods.values()]
    if covered:
        seen += f"; groups cover {_range(covered)} s"
    return held_if(all(is_near(each, configured) for each in (interval, *covered)), seen)


@assumption(
    "groups",
    "With one period for all groups, each report has every requested group",
    "metrics/last_readings.py",
)
def judge_groups(evidence: Evidence) -> Judgement:
    stream = evidence.stream
    if not evidence.requested or not stream.reports:
        seen = format_names(name for name, count in stream.group_reports.items() if count)
        raise NotSeen(f"{_NOT_CONFIGURED}; groups: {seen or 'none'}")
    names = sorted(group.value for group in evidence.requested)
    of_machine = [name for name in names if name in SYSTEM_GROUPS]
    of_runtimes = [name for name in names if name in RUNTIME_GROUPS]
    missing = [
        f"{name} in {total - counts[name]} of {total} {noun}"
        for group_names, counts, total, noun in (
            (of_machine, stream.group_reports, stream.reports, "reports"),
            (of_runtimes, stream.group_runtimes, stream.runtimes, "runtimes"),
        )
        for name in group_names
        if counts[name] < total
    ]
    if missing:
        return contradicted(f"missing: {format_names(missing)}")
    seen = f"{len(of_machine)} groups of the machine in each of {stream.reports:,} reports"
    if not stream.runtimes:
        return held(f"{seen}; no runtime was seen, so nothing is known of its groups")
    return held(f"{seen}, {len(of_runtimes)} of each runtime")


@assumption("fields", "Reports have no field that the exporter does not know", "report/schema.py")
def judge_fields(evidence: Evidence) -> Judgement:
    stream = _read(evidence)
    if not stream.unknown:
        return held("no other field")
    masked = "; the running exporter masks their names" if evidence.is_masked else ""
    return contradicted(f"not understood: {format_names(stream.unknown_fields)}{masked}")


@assumption(
    "values", "Each value has the expected type, and no number is negative", "report/schema.py"
)
def judge_values(evidence: Evidence) -> Judgement:
    invalid = sorted(_read(evidence).invalid.items())
    problems = format_names(f"{path}: {problem}" for path, problem in invalid)
    return held_if(not problems, problems or "no other value")


@assumption(
    "names",
    "Statuses, error types and percentiles have the documented names",
    "facts/report_names.py",
)
def judge_names(evidence: Evidence) -> Judgement:
    stream = evidence.stream
    require(stream.names, "no runtime reported executions")
    if stream.unknown_names:
        return contradicted(f"not understood: {format_names(sorted(stream.unknown_names))}")
    return held(f"{len(stream.names)} names, all of them documented")


@assumption(
    "group-errors",
    "No group has an error, except neuron_runtime_vcpu_usage in a container",
    "metrics/group_status.py",
)
def judge_errors(evidence: Evidence) -> Judgement:
    counts = dict(_read(evidence).error_groups)
    counts.pop("instance_info", None)  # the exporter has other sources of the identity
    names = format_names(f"{name} ({count})" for name, count in sorted(counts.items()))
    seen = f"groups with errors: {names}" if names else "no group has an error"
    return held_if(counts.keys() <= {Group.RUNTIME_VCPU_USAGE.value}, seen)


def _read(evidence: Evidence) -> StreamSeen:
    """Return the stream if it has a report."""
    require(evidence.stream.reports, _NO_REPORT)
    return evidence.stream


def _range(values: Iterable[float]) -> str:
    low, *_, high = [f"{value:.3g}" for value in sorted([*values] * 2)]
    return low if low == high else f"{low} to {high}"
