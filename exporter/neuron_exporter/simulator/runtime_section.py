"""The section of one runtime in a report."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from neuron_exporter.facts.report_names import ERROR_TYPES, FAILED_STATUSES, GENERIC
from neuron_exporter.model import Group
from neuron_exporter.simulator.hardware import Hardware
from neuron_exporter.simulator.processes import Process, Work

_PHYSICAL_SPREAD = 8.0
_PEAK_SHARE = 0.4


def runtime_entry(
    hardware: Hardware, process: Process, work: Work, covered: Mapping[Group, float]
) -> dict[str, Any]:
    """Return an entry of `neuron_runtime_data` with the groups that are covered."""
    makers: dict[Group, Callable[[], dict[str, Any]]] = {
        Group.EXECUTION_STATS: lambda: _execution_stats(hardware, work),
        Group.MEMORY_USED: lambda: _memory_used(hardware, process, work),
        Group.RUNTIME_VCPU_USAGE: lambda: {
            "vcpu_usage": {"user": work.cpu_user, "system": work.cpu_system}
        },
        Group.NEURONCORE_COUNTERS: lambda: {
            "neuroncores_in_use": {
                str(core): _core(hardware, core, work.utilization.get(core, 0))
                for core in sorted(range(hardware.cores), key=str)
            }
        },
    }
    return {
        "pid": process.pid,
        "neuron_runtime_tag": process.tag,
        "error": "",
        "report": groups(makers, covered),
    }


def groups(
    makers: Mapping[Group, Callable[[], dict[str, Any]]], covered: Mapping[Group, float]
) -> dict[str, Any]:
    """Return the groups that are covered, each with its period and without an error."""
    return {
        group.value: {"period": covered[group], **make(), "error": ""}
        for group, make in makers.items()
        if group in covered
    }


def _core(hardware: Hardware, core: int, percent: float) -> dict[str, Any]:
    """Return one core; neuron-monitor lists all cores of the machine for every runtime."""
    shown: dict[str, Any] = {"neuroncore_utilization": percent}
    generation, size = hardware.generation, hardware.logical_core_size
    if not generation.old_tools:
        shown["effective_flops"] = int(percent / 100 * generation.peak_flops * _PEAK_SHARE)
    if size > 1:
        # Physical cores differ in utilization; the logical core is their mean.
        spread = min(_PHYSICAL_SPREAD, percent, 100 - percent)
        by_name = {
            f"nc_v3.{core * size + at}": percent + spread * (2 * at / (size - 1) - 1)
            for at in range(size)
        }
        shown["v3d"] = {
            name: {"neuroncore_utilization": share} for name, share in sorted(by_name.items())
        }
    return shown


def _execution_stats(hardware: Hardware, work: Work) -> dict[str, Any]:
    names = (GENERIC, *ERROR_TYPES) if hardware.generation.old_tools else ERROR_TYPES
    return {
        "error_summary": {**dict.fromkeys(names, 0), **work.errors},
        "execution_summary": {
            "completed": work.completed,
            **dict.fromkeys(FAILED_STATUSES, 0),
            **work.statuses,
        },
        "latency_stats": {
            "total_latency": _by_name(work.latency),
            "device_latency": _by_name(work.device_latency),
        },
    }


def _by_name(latency: Mapping[str, float] | None) -> dict[str, float] | None:
    return None if latency is None else dict(sorted(latency.items()))


def _memory_used(hardware: Hardware, process: Process, work: Work) -> dict[str, Any]:
    host = {
        "application_memory": work.host_memory,
        "constants": 0,
        "dma_buffers": 4194304,
        "tensors": 65536,
    }
    on_device = sum(sum(parts.values()) for parts in work.memory.values())
    by_core = dict(sorted((str(core), parts) for core, parts in work.memory.items()))
    return {
        "neuron_runtime_used_bytes": {
            "host": sum(host.values()),
            "neuron_device": on_device,
            "usage_breakdown": {"host": host, "neuroncore_memory_usage": by_core},
        },
        "loaded_models": [_model(hardware, process, core) for core in process.cores],
    }


def _model(hardware: Hardware, process: Process, core: int) -> dict[str, Any]:
    digest = zlib.crc32(f"{process.tag}:{core}".encode())
    return {
        "name": f"/models/{process.tag}/{digest:08x}.neff",
        "uuid": f"{digest:08x}" * 4,
        "model_id": 10001 + core,
        "is_running": False,
        "subgraphs": {
            "sg_00": {
                "memory_used_bytes": {"host": 20480, "neuron_device": 24128},
                "neuroncore_index": core % hardware.cores_per_device,
                "neuron_device_index": core // hardware.cores_per_device,
            }
        },
    }
