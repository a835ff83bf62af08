"""Assumptions on the stream: its lines, periods, groups, fields and names."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import (
    Judgement,
    contradicted,
    format_count,
    format_names,
    held,
    not_seen,
)
from neuron_exporter.doctor.source import is_near
from neuron_exporter.metrics.report_period import RUNTIME_GROUPS, SYSTEM_GROUPS
from neuron_exporter.model import Group
from neuron_exporter.source.watchdog import START_UP_PERIOD

_MIN_INTERVALS = 3
_VCPU = Group.RUNTIME_VCPU_USAGE.value


def judge_lines(evidence: Evidence) -> Judgement:
    """Judge whether the source kept running and sent reports only."""
    stream = evidence.stream
    seen = f"{format_count(stream.reports, 'report')}, the longest of {stream.longest:,} bytes"
    problems = [f"{count} {reason}" for reason, count in stream.invalid_lines.items()]
    problems += [f"a restart: {reason}" for reason in stream.restarts[:3]]
    if problems:
        return contradicted(f"{seen}; {'; '.join(problems)}")
    if evidence.is_replayed:
        return not_seen(f"{seen}; a recording has no other lines")
    return held(seen) if stream.reports else not_seen("no report was read")


def judge_first_report(evidence: Evidence) -> Judgement:
    """Judge whether the first report alone covers milliseconds."""
    first = evidence.stream.first_periods
    if not evidence.is_own_child or not first:
        return not_seen("the first report of neuron-monitor was not read")
    later = [each for many in evidence.stream.later_periods.values() for each in many]
    seen = f"its groups cover {_range(first)} s"
    if later:
        seen += f", those of later reports {_range(later)} s"
    if max(first) >= START_UP_PERIOD or min(later, default=1.0) < START_UP_PERIOD:
        return contradicted(seen)
    return held(seen) if later else not_seen(f"{seen}; there was no other report")


def judge_period(evidence: Evidence) -> Judgement:
    """Judge whether the reports and their groups have the configured period."""
    configured, stream = evidence.period, evidence.stream
    if configured is None:
        return not_seen("the exporter has not configured this stream")
    if len(stream.intervals) < _MIN_INTERVALS:
        return not_seen(f"only {format_count(stream.reports, 'report')} in a row")
    interval = median(stream.intervals)
    seen = f"configured {configured:g} s; a report every {interval:.2f} s"
    seen += f" ({_range(stream.intervals)})"
    covered = {name: median(many) for name, many in stream.later_periods.items()}
    if covered:
        seen += f"; groups cover {_range(covered.values())} s"
    is_kept = all(is_near(each, configured) for each in (interval, *covered.values()))
    return held(seen) if is_kept else contradicted(seen)


def judge_groups(evidence: Evidence) -> Judgement:
    """Judge whether each report has every group that the exporter requested."""
    stream, requested = evidence.stream, evidence.requested
    if not requested or not stream.reports:
        seen = format_names(name for name, count in stream.group_reports.items() if count)
        return not_seen(f"the exporter has not configured this stream; groups: {seen or 'none'}")
    names = sorted(group.value for group in requested)
    of_machine = [name for name in names if name in SYSTEM_GROUPS]
    of_runtimes = [name for name in names if name in RUNTIME_GROUPS]
    missing = [
        f"{name} in {stream.reports - stream.group_reports[name]} of {stream.reports} reports"
        for name in of_machine
        if stream.group_reports[name] < stream.reports
    ] + [
        f"{name} in {stream.runtimes - stream.group_runtimes[name]} of {stream.runtimes} runtimes"
        for name in of_runtimes
        if stream.group_runtimes[name] < stream.runtimes
    ]
    if missing:
        return contradicted(f"missing: {format_names(missing)}")
    seen = f"{len(of_machine)} groups of the machine in each of {stream.reports:,} reports"
    if not stream.runtimes:
        return held(f"{seen}; no runtime was seen, so nothing is known of its groups")
    return held(f"{seen}, {len(of_runtimes)} of each runtime")


def judge_fields(evidence: Evidence) -> Judgement:
    """Judge whether the exporter knows all fields."""
    stream = evidence.stream
    if not stream.reports:
        return not_seen("no report was read")
    if not stream.unknown:
        return held("no other field")
    masked = "; the running exporter masks their names" if evidence.is_masked else ""
    return contradicted(f"not understood: {format_names(stream.unknown_fields)}{masked}")


def judge_values(evidence: Evidence) -> Judgement:
    """Judge whether all values have the expected types and ranges."""
    stream = evidence.stream
    if not stream.reports:
        return not_seen("no report was read")
    problems = [f"{path}: {problem}" for path, problem in sorted(stream.invalid.items())]
    return contradicted(format_names(problems)) if problems else held("no other value")


def judge_names(evidence: Evidence) -> Judgement:
    """Judge whether statuses, error types and percentiles are the documented ones."""
    stream = evidence.stream
    if not stream.names:
        return not_seen("no runtime reported executions")
    if stream.unknown_names:
        return contradicted(f"not understood: {format_names(sorted(stream.unknown_names))}")
    return held(f"{len(stream.names)} names, all of them documented")


def judge_errors(evidence: Evidence) -> Judgement:
    """Judge whether no group has an error except the one that a container cannot avoid."""
    counts = {
        name: count
        for name, count in evidence.stream.error_groups.items()
        if name != "instance_info"  # the exporter has other sources of the identity
    }
    if not evidence.stream.reports:
        return not_seen("no report was read")
    seen = format_names(f"{name} ({count})" for name, count in sorted(counts.items()))
    if counts.keys() - {_VCPU}:
        return contradicted(f"groups with errors: {seen}")
    return held(f"groups with errors: {seen}" if seen else "no group has an error")


def judge_max_line(evidence: Evidence) -> Judgement:
    """Judge whether lines are far shorter than the limit."""
    stream = evidence.stream
    if not stream.reports:
        return not_seen("no report was read")
    seen = f"the longest has {stream.longest:,} bytes, source.max_line is {evidence.max_line:,}"
    return held(seen) if 2 * stream.longest <= evidence.max_line else contradicted(seen)


def _range(values: Iterable[float]) -> str:
    low, *_, high = [f"{value:.3g}" for value in sorted([*values] * 2)]
    return low if low == high else f"{low} to {high}"
