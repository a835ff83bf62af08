"""Faults of processes: which ones run, for how long, and what they do."""

from __future__ import annotations

from collections.abc import Mapping

from neuron_exporter.facts.report_names import ERROR_TYPES, FAILED_STATUSES
from neuron_exporter.model import Group
from neuron_exporter.simulator.context import FaultContext
from neuron_exporter.simulator.processes import Process, ProcessKind, Work

FILLING_SECONDS = 300.0
"""Time until the device memory is full, in seconds."""

_FIRST_PID = 3_000_000
_PIDS_PER_LIFE = 1100  # above the maximum number of processes, so that pids never collide
_LIVES = 900
_GAP_REPORTS = 2

Periods = Mapping[Group, float]


def no_period(covered: Periods, configured: Periods, context: FaultContext) -> Periods:
    """Return periods of zero."""
    return dict.fromkeys(covered, 0.0)


def whole_period(covered: Periods, configured: Periods, context: FaultContext) -> Periods:
    """Return the configured periods."""
    return {group: configured[group] for group in covered}


def same_tags(running: list[Process], context: FaultContext) -> list[Process]:
    """Give every process the tag 1, the default of the first process in a container."""
    return [process._replace(tag="1") for process in running]


def churn(running: list[Process], context: FaultContext) -> list[Process]:
    """Let each process run for 8 to 12 reports and return as a new one after two."""
    remaining = []
    for at, process in enumerate(running):
        life = 8 + at % 5
        turn, age = divmod(context.number + 3 * at, life + _GAP_REPORTS)
        if process.kind is ProcessKind.HELPER:
            remaining.append(process)
        elif age < life:
            pid = _FIRST_PID + turn % _LIVES * _PIDS_PER_LIFE + at
            remaining.append(process._replace(pid=pid, first_report=context.number - age))
    return remaining


def exit_first(running: list[Process], context: FaultContext) -> list[Process]:
    """Let the first process exit; its pod stays."""
    return [running[0]._replace(has_exited=True), *running[1:]] if running else running


def hang(work: Work, process: Process, context: FaultContext) -> Work:
    """Keep the cores busy without completing an execution."""
    return work._replace(
        utilization=dict.fromkeys(process.cores, 100 * process.core_share),
        completed=0,
        statuses={},
        errors={},
        latency=None,
        device_latency=None,
    )


def fill_memory(work: Work, process: Process, context: FaultContext) -> Work:
    """Grow tensors until the device memory is full."""
    full = min(1.0, context.elapsed / FILLING_SECONDS)
    memory = {}
    for core, parts in work.memory.items():
        added = int(full * (process.memory_limits[core] - sum(parts.values())))
        memory[core] = {**parts, "tensors": parts["tensors"] + added}
    return work._replace(memory=memory)


def spike_latency(work: Work, process: Process, context: FaultContext) -> Work:
    """Multiply p99 by 20 to 60 and p100 by twice that."""
    times = 20 + 40 * context.rng.random()
    return work._replace(
        latency=_spiked(work.latency, times), device_latency=_spiked(work.device_latency, times)
    )


def fail_executions(work: Work, process: Process, context: FaultContext) -> Work:
    """Add executions of every failed status, and errors of every type."""
    if not work.completed:
        return work
    most = 1 + work.completed // 50
    return work._replace(
        statuses={name: context.rng.randint(1, most) for name in FAILED_STATUSES},
        errors={name: context.rng.randint(1, most) for name in ERROR_TYPES},
    )


def _spiked(latency: Mapping[str, float] | None, times: float) -> Mapping[str, float] | None:
    if latency is None:
        return None
    slow = {"p99": times, "p100": 2 * times}
    return {name: value * slow.get(name, 1.0) for name, value in latency.items()}
