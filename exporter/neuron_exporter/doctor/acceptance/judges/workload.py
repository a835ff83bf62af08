"""Assumptions on runtimes: cores, memory, executions, latency and processes."""

from __future__ import annotations

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
from neuron_exporter.doctor.acceptance.seen.runtimes import Checked
from neuron_exporter.doctor.finding import format_count, format_names

_MAX_PERCENT = 100.5
"""100 %, and what rounding explains."""

_MIN_RISES = 10
"""Rises in a row, without a fall, from which on counts look like totals."""

_NO_RUNTIME = "no runtime was seen"


@assumption("listed-cores", "Each runtime lists every core of the machine", "metrics/inventory.py")
def judge_listed_cores(evidence: Evidence) -> Judgement:
    listed = require(evidence.runtimes.listed, _NO_RUNTIME)
    different = {pair: count for pair, count in listed.items() if pair[0] != pair[1]}
    if different:
        texts = (f"{own} of {all_} ({count})" for (own, all_), count in sorted(different.items()))
        return contradicted(f"entries of runtimes list fewer or more cores: {format_names(texts)}")
    cores = format_names(all_ for _, all_ in sorted(listed))
    return held(f"{format_count(listed.total(), 'listing')} of all {cores} cores")


@assumption(
    "core-utilization",
    "A core is busy for at most 100 %, by one runtime and by all",
    "metrics/aggregate.py",
)
def judge_utilization(evidence: Evidence) -> Judgement:
    one, all_ = evidence.runtimes.utilization, evidence.runtimes.summed
    require(one.value, "no core was busy")
    text = f"highest: {one.value:.4g} % by one runtime ({one.place})"
    text += f", {all_.value:.4g} % by all ({all_.place})"
    return held_if(all_.value <= _MAX_PERCENT, text)


@assumption(
    "physical-cores",
    "Names of physical cores end with their numbers in the machine; each core has LNC of them",
    "metrics/physical_cores.py",
)
def judge_physical_cores(evidence: Evidence) -> Judgement:
    nothing = "no report lists physical cores (v3d)"
    return _judge_checked(evidence.runtimes.physical, "listing", nothing)


@assumption(
    "memory-sums",
    "The memory of a runtime is the sum of its categories, on the devices and on the host",
    "metrics/runtimes.py",
)
def judge_memory_sums(evidence: Evidence) -> Judgement:
    return _judge_checked(evidence.runtimes.memory, "sum", "no runtime reported its memory")


@assumption(
    "memory-fits",
    "The memory in use on a device's cores fits into the device",
    "metrics/aggregate.py",
)
def judge_memory_fits(evidence: Evidence) -> Judgement:
    fullest = evidence.runtimes.fullest
    require(fullest.value, "no device memory was in use, or its size is unknown")
    return held_if(fullest.value <= 1, f"highest: {fullest.value:.2%} of {fullest.place}")


@assumption(
    "execution-tallies",
    "Executions are counts of the period (tallies), not totals",
    "metrics/counters.py",
)
def judge_tallies(evidence: Evidence) -> Judgement:
    """Judge whether executions fall between reports: a total could not."""
    seen = evidence.runtimes.completed
    number = require(seen.falls + seen.rises + seen.same, "too few executions were seen")
    text = f"completed fell {format_count(seen.falls, 'time')} and rose {seen.rises}"
    text += f" in {format_count(number, 'comparison')}"
    if seen.falls:
        return held(text)
    if seen.rises >= _MIN_RISES and not seen.same:
        return contradicted(f"{text}, as totals do")
    raise NotSeen(text)


@assumption(
    "latency",
    "Latency percentiles rise, and are absent where no execution ended",
    "metrics/latency.py",
)
def judge_latency(evidence: Evidence) -> Judgement:
    nothing = "no runtime reported a latency"
    return _judge_checked(evidence.runtimes.latency, "latency reading", nothing)


@assumption(
    "cpu-shares",
    "CPU use, also of runtimes, is in percent of all CPUs of the machine",
    "metrics/aggregate.py",
)
def judge_cpu(evidence: Evidence) -> Judgement:
    of_runtime, of_host = evidence.runtimes.cpu.value, evidence.runtimes.host_cpu.value
    highest = require(max(of_runtime, of_host), "no CPU use was reported")
    text = f"highest: {of_runtime:.4g} % by a runtime, {of_host:.4g} % of the machine"
    return held_if(highest <= _MAX_PERCENT, text)


@assumption(
    "runtime-pids", "Process ids of runtimes are those of the host", "identity/owners/cgroup.py"
)
def judge_pids(evidence: Evidence) -> Judgement:
    require(not evidence.is_masked, "the running exporter masks process ids")
    pids = require(evidence.runtimes.pids, _NO_RUNTIME)
    require(evidence.has_host_pids, "only this container's processes are visible")
    require(not evidence.is_simulated, "simulated runtimes are not processes")
    # A short-lived process may have ended before it was looked up.
    text = f"{sum(pids.values())} of {format_count(len(pids), 'runtime')} are processes here"
    return held_if(any(pids.values()), text)


def _judge_checked(checked: Checked, noun: str, nothing: str) -> Judgement:
    require(checked.number, nothing)
    text = f"{format_count(checked.number, noun)} compared"
    if checked.differences:
        found = (f"{what} ({count})" for what, count in checked.differences.most_common())
        return contradicted(f"{text}: {format_names(found)}")
    return held(text)
