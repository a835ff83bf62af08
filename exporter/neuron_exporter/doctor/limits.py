"""What the container may use, against what the exporter and neuron-monitor need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, ok, skipped, warning
from neuron_exporter.source.neuron_monitor import memory_limit

SUBJECT = "memory"

OWN_NEED = 96 * 2**20
"""Bytes of the exporter at a full machine, with its supervisor or with gRPC: the bound of the
project's tests for both."""

CHILD_NEED = 256 * 2**20
"""Bytes that AWS's own manifest for neuron-monitor allows it (k8s-neuron-monitor-daemonset.yml,
2026-08); with less it has been killed."""

_MIB = 2**20


def examine(case: Case) -> Iterator[Finding]:
    """The memory limit of the control group, and how often it was met."""
    need = OWN_NEED + (CHILD_NEED if case.config.source.kind == "neuron-monitor" else 0)
    yield judge(memory_limit(), need)
    used = case.exposed.value("process_resident_memory_bytes") if case.exposed else None
    if used:
        yield ok(SUBJECT, f"the running exporter has {used / _MIB:.0f} MiB (neuron-monitor apart)")
    killed = oom_kills()
    if killed:
        yield warning(
            SUBJECT,
            f"{killed} processes of this control group were killed for its limit so far",
            "raise the limit; neuron-monitor is meant to go first (its oom_score_adj is higher)",
        )


def judge(limit: int | None, need: int) -> Finding:
    """Whether so many bytes fit."""
    if limit is None:
        return skipped(SUBJECT, "no limit is set, or none can be seen here")
    seen = f"the limit is {limit // _MIB} MiB; {need // _MIB} MiB are enough for a full machine"
    if limit >= need:
        return ok(SUBJECT, seen)
    return warning(SUBJECT, seen, f"raise the container's memory limit to {need // _MIB} MiB")


def oom_kills(events: Path = Path("/sys/fs/cgroup/memory.events")) -> int:
    """How many processes of our control group (version 2) were killed for want of memory."""
    with suppress(OSError, ValueError):
        for line in events.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0
