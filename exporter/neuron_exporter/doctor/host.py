"""Check the host: versions of the Neuron driver and tools, and the memory limit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject
from neuron_exporter.doctor.remedies import AS_EXPORTER
from neuron_exporter.identity.local import DRIVER_VERSION, driver_version, tools_version
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.source.memory import memory_limit

DRIVER, MEMORY, _TOOLS = Subject("driver"), Subject("memory"), Subject("tools")

LAST_DRIVER_FOR_INF1 = (2, 21)
"""The last driver that supports Inferentia. AWS's own images for ECS and EKS (2026-08) fall back to
2.21.* when they find such a device."""

EXPORTER_NEED = 96 * 2**20
"""Bytes that the exporter and its supervisor need at most, on the largest machine. Without the
supervisor, as in k8s/base, the exporter needs at most 70 MiB. The project's tests enforce both
bounds."""

NEURON_MONITOR_NEED = 256 * 2**20
"""Bytes that AWS's manifest for neuron-monitor requests (k8s-neuron-monitor-daemonset.yml,
2026-08). With less, neuron-monitor has been killed."""

_MIB = 2**20


def check_driver(context: Context) -> Iterator[Finding]:
    """Check the versions of the loaded driver and the installed tools."""
    if not is_local_source(context.config):
        yield DRIVER.skipped(f"source.kind {context.config.source.kind} needs no driver")
        return
    version = driver_version()
    if not version and os.path.exists(DRIVER_VERSION.parent):
        seen = f"a driver is loaded; {DRIVER_VERSION} cannot be read (user {os.geteuid()})"
        yield DRIVER.warning(seen, AS_EXPORTER)
    elif not version:
        yield DRIVER.failed(
            "no Neuron driver is loaded (/sys/module/neuron/version is missing)",
            "on the host, not in the container: install aws-neuronx-dkms for the running kernel, "
            "then run `modprobe neuron`; check that the machine has Neuron devices",
        )
    elif context.machine.instance_type.startswith("inf1.") and _is_too_new_for_inf1(version):
        yield DRIVER.failed(
            f"version {version} does not support {context.machine.instance_type}",
            "install aws-neuronx-dkms=2.21.* on the host and pin that version",
        )
    else:
        yield DRIVER.ok(f"version {version} is loaded")
    tools = tools_version()
    if tools:
        yield _TOOLS.ok(f"aws-neuronx-tools {tools}")
    else:
        yield _TOOLS.skipped("the version is unknown (no Debian package database here)")


def _is_too_new_for_inf1(version: str) -> bool:
    numbers = re.match(r"(\d{1,6})\.(\d{1,6})", version)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) > LAST_DRIVER_FOR_INF1


def check_memory(context: Context) -> Iterator[Finding]:
    """Check the memory limit of the cgroup, and how many processes it has killed."""
    need = EXPORTER_NEED
    if context.config.source.kind == "neuron-monitor":
        need += NEURON_MONITOR_NEED
    yield compare_limit(memory_limit(), need)
    used = context.scraped.value("process_resident_memory_bytes") if context.scraped else None
    if used:
        yield MEMORY.ok(f"the running exporter uses {used / _MIB:.0f} MiB (without neuron-monitor)")
    killed = oom_kills()
    if killed:
        yield MEMORY.warning(
            f"the kernel has killed {killed} processes of this cgroup at its memory limit",
            "raise the limit; neuron-monitor is killed first (its oom_score_adj is higher)",
        )


def compare_limit(limit: int | None, need: int) -> Finding:
    """Compare a memory limit with the need (bytes)."""
    if limit is None:
        return MEMORY.skipped("no memory limit is set, or none is visible here")
    needed = f"up to {need // _MIB} MiB are needed on the largest machine"
    seen = f"the limit is {limit // _MIB} MiB; {needed}"
    if limit >= need:
        return MEMORY.ok(seen)
    return MEMORY.warning(seen, f"raise the container's memory limit to {need // _MIB} MiB")


def oom_kills(events: Path = Path("/sys/fs/cgroup/memory.events")) -> int:
    """Return how many processes of this cgroup (version 2) the kernel killed at the limit."""
    with suppress(OSError, ValueError):
        for line in events.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0
