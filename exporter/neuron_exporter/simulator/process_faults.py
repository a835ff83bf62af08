"""Faults of the processes: who runs, and what they do."""

from __future__ import annotations

from collections.abc import Mapping

from neuron_exporter.model import Group
from neuron_exporter.simulator.context import Now
from neuron_exporter.simulator.processes import Kind, Process, Work

FILLING_SECONDS = 300.0
"""How long it takes until the memory is full."""

_FIRST_PID = 3_000_000
_PIDS_OF_A_ROUND = 1100  # more than there can be processes, so that no two ever have the same
_ROUNDS = 900
_PAUSE = 2

Periods = Mapping[Group, float]


def no_period(covered: Periods, wanted: Periods, now: Now) -> Periods:
    """Every group covers no time at all."""
    return dict.fromkeys(covered, 0.0)


def whole_period(covered: Periods, wanted: Periods, now: Now) -> Periods:
    """Every group covers its whole period."""
    return {group: wanted[group] for group in covered}


def same_tags(running: list[Process], now: Now) -> list[Process]:
    """Every process is the first of its container, and was given no tag."""
    return [process._replace(tag="1") for process in running]


def churn(running: list[Process], now: Now) -> list[Process]:
    """Each process lives for 8 to 12 reports, is gone for two, and comes back as another."""
    alive = []
    for at, process in enumerate(running):
        life = 8 + at % 5
        turn, age = divmod(now.number + 3 * at, life + _PAUSE)
        if process.kind is Kind.HELPER:
            alive.append(process)
        elif age < life:
            pid = _FIRST_PID + turn % _ROUNDS * _PIDS_OF_A_ROUND + at
            alive.append(process._replace(pid=pid, born=now.number - age))
    return alive


def hang(work: Work, process: Process, now: Now) -> Work:
    """Cores are busy, and nothing completes."""
    return work._replace(
        utilization=dict.fromkeys(process.cores, 100 * process.portion),
        completed=0,
        statuses={},
        errors={},
        latency=None,
        device_latency=None,
    )


def fill_memory(work: Work, process: Process, now: Now) -> Work:
    """Tensors grow until the memory of the devices is full, and stay there."""
    full = min(1.0, now.lasted / FILLING_SECONDS)
    memory = {
        core: {
            **parts,
            "tensors": parts["tensors"] + int(full * (process.room[core] - sum(parts.values()))),
        }
        for core, parts in work.memory.items()
    }
    return work._replace(memory=memory)


def spike_latency(work: Work, process: Process, now: Now) -> Work:
    """The slowest executions take twenty to sixty times as long."""
    times = 20 + 40 * now.rng.random()
    return work._replace(
        latency=_spiked(work.latency, times), device_latency=_spiked(work.device_latency, times)
    )


def fail_executions(work: Work, process: Process, now: Now) -> Work:
    """Beside what completes, executions end in every other way, with errors of every kind."""
    if not work.completed:
        return work
    few = 1 + work.completed // 50
    return work._replace(
        statuses={
            "completed_with_err": now.rng.randint(1, few),
            "completed_with_num_err": now.rng.randint(1, few),
            "timed_out": now.rng.randint(1, few),
            "incorrect_input": now.rng.randint(1, few),
            "failed_to_queue": now.rng.randint(1, few),
        },
        errors={
            "numerical": now.rng.randint(1, few),
            "transient": now.rng.randint(1, few),
            "model": now.rng.randint(1, few),
            "runtime": now.rng.randint(1, few),
            "hardware": now.rng.randint(1, few),
        },
    )


def _spiked(latency: Mapping[str, float] | None, times: float) -> Mapping[str, float] | None:
    if latency is None:
        return None
    slow = {"p99": times, "p100": 2 * times}
    return {name: value * slow.get(name, 1.0) for name, value in latency.items()}
