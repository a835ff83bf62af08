"""Assumptions on runtimes: cores, memory, executions, latency and processes."""

from __future__ import annotations

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import (
    Judgement,
    contradicted,
    format_count,
    format_names,
    held,
    not_seen,
)
from neuron_exporter.doctor.acceptance.seen.runtimes import Checked

_TOLERANCE = 0.5
"""Percentage points above 100 that rounding explains."""

_MIN_RISES = 10
"""Rises in a row, without a fall, from which on counts look like totals."""

_NO_RUNTIME = "no runtime was seen"
_NO_BUSY_CORE = "no core was busy"


def judge_listed_cores(evidence: Evidence) -> Judgement:
    """Judge whether each runtime lists every core of the machine."""
    listed = evidence.runtimes.listed
    if not listed:
        return not_seen(_NO_RUNTIME)
    different = {pair: count for pair, count in listed.items() if pair[0] != pair[1]}
    if different:
        texts = (f"{own} of {all_} ({count})" for (own, all_), count in sorted(different.items()))
        return contradicted(f"entries of runtimes list fewer or more cores: {format_names(texts)}")
    cores = format_names(str(all_) for _, all_ in sorted(listed))
    return held(f"{format_count(listed.total(), 'listing')} of all {cores} cores")


def judge_utilization(evidence: Evidence) -> Judgement:
    """Judge whether a core is busy for at most 100 %, by one runtime and by all."""
    one, all_ = evidence.runtimes.utilization, evidence.runtimes.summed
    if not one.value:
        return not_seen(_NO_BUSY_CORE)
    text = f"highest: {one.value:.4g} % by one runtime ({one.place})"
    text += f", {all_.value:.4g} % by all ({all_.place})"
    return held(text) if all_.value <= 100 + _TOLERANCE else contradicted(text)


def judge_memory_sums(evidence: Evidence) -> Judgement:
    """Judge whether the memory of a runtime is the sum of its categories."""
    checked = evidence.runtimes.memory
    return _judge_checked(checked, "sum", "no runtime reported its memory")


def judge_memory_fits(evidence: Evidence) -> Judgement:
    """Judge whether the memory of a device's cores fits into the device."""
    fullest = evidence.runtimes.fullest
    if not fullest.value:
        return not_seen("no device memory was in use, or its size is unknown")
    text = f"highest: {fullest.value:.2%} of {fullest.place}"
    return held(text) if fullest.value <= 1 else contradicted(text)


def judge_tallies(evidence: Evidence) -> Judgement:
    """Judge whether executions are counts of the period: a total could not fall."""
    seen = evidence.runtimes.completed
    number = seen.falls + seen.rises + seen.same
    text = f"completed fell {format_count(seen.falls, 'time')} and rose {seen.rises}"
    text += f" in {format_count(number, 'comparison')}"
    if seen.falls:
        return held(text)
    if seen.rises >= _MIN_RISES and not seen.same:
        return contradicted(f"{text}, as totals do")
    return not_seen(text if number else "too few executions were seen")


def judge_latency(evidence: Evidence) -> Judgement:
    """Judge whether percentiles rise, and exist only where executions ended."""
    rising, alone = evidence.runtimes.latency, evidence.runtimes.latency_without_executions
    together = Checked(rising.number, rising.differences + alone.differences)
    return _judge_checked(together, "latency reading", "no runtime reported a latency")


def judge_cpu(evidence: Evidence) -> Judgement:
    """Judge whether CPU use is in percent of all CPUs of the machine."""
    of_runtime, of_host = evidence.runtimes.cpu.value, evidence.runtimes.host_cpu.value
    if not of_runtime and not of_host:
        return not_seen("no CPU use was reported")
    text = f"highest: {of_runtime:.4g} % by a runtime, {of_host:.4g} % of the machine"
    is_share = max(of_runtime, of_host) <= 100 + _TOLERANCE
    return held(text) if is_share else contradicted(text)


def judge_physical_cores(evidence: Evidence) -> Judgement:
    """Judge whether the names of physical cores end with the machine's numbers of the cores."""
    checked = evidence.runtimes.physical
    return _judge_checked(checked, "listing", "no report lists physical cores (v3d)")


def judge_pids(evidence: Evidence) -> Judgement:
    """Judge whether the process ids of runtimes are those of the host."""
    pids = evidence.runtimes.pids
    if evidence.is_masked:
        return not_seen("the running exporter masks process ids")
    if not pids:
        return not_seen(_NO_RUNTIME)
    if not evidence.has_host_pids:
        return not_seen("only this container's processes are visible")
    text = f"{sum(pids.values())} of {format_count(len(pids), 'runtime')} are processes here"
    if evidence.is_simulated:
        return not_seen("simulated runtimes are not processes")
    # A short-lived process may have ended before it was looked up.
    return held(text) if any(pids.values()) else contradicted(text)


def _judge_checked(checked: Checked, noun: str, nothing: str) -> Judgement:
    if not checked.number:
        return not_seen(nothing)
    text = f"{format_count(checked.number, noun)} compared"
    if checked.differences:
        found = (f"{what} ({count})" for what, count in checked.differences.most_common())
        return contradicted(f"{text}: {format_names(found)}")
    return held(text)
