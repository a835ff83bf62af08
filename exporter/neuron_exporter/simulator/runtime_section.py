"""What neuron-monitor prints of one runtime."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

from neuron_exporter.model import Group
from neuron_exporter.simulator.hardware import Hardware
from neuron_exporter.simulator.processes import Process, Work

_STATUSES = (
    "completed",
    "completed_with_err",
    "completed_with_num_err",
    "timed_out",
    "incorrect_input",
    "failed_to_queue",
)
_ERRORS = ("numerical", "transient", "model", "runtime", "hardware")
_SPREAD = 8.0
_SHARE_OF_PEAK = 0.4


def runtime(
    hardware: Hardware, process: Process, work: Work, covered: Mapping[Group, float]
) -> dict[str, Any]:
    """One entry of `neuron_runtime_data`, with the groups that are covered."""
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
    """The groups that are covered, each with its period and without an error."""
    return {
        group.value: {"period": covered[group], **make(), "error": ""}
        for group, make in makers.items()
        if group in covered
    }


def _core(hardware: Hardware, core: int, percent: float) -> dict[str, Any]:
    """One of all cores of the machine, as neuron-monitor lists them for every runtime."""
    shown: dict[str, Any] = {"neuroncore_utilization": percent}
    generation, size = hardware.generation, hardware.logical_core_size
    if not generation.old_tools:
        shown["effective_flops"] = int(percent / 100 * generation.peak_flops * _SHARE_OF_PEAK)
    if size > 1:
        # Physical cores are busy to different degrees; the logical core is their mean.
        spread = min(_SPREAD, percent, 100 - percent)
        by_name = {
            f"nc_v3.{core * size + at}": percent + spread * (2 * at / (size - 1) - 1)
            for at in range(size)
        }
        shown["v3d"] = {
            name: {"neuroncore_utilization": share} for name, share in sorted(by_name.items())
        }
    return shown


def _execution_stats(hardware: Hardware, work: Work) -> dict[str, Any]:
    names = ("generic", *_ERRORS) if hardware.generation.old_tools else _ERRORS
    return {
        "error_summary": {**dict.fromkeys(names, 0), **work.errors},
        "execution_summary": {
            **dict.fromkeys(_STATUSES, 0),
            **work.statuses,
            "completed": work.completed,
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
    by_core = {str(core): parts for core, parts in work.memory.items()}
    return {
        "neuron_runtime_used_bytes": {
            "host": sum(host.values()),
            "neuron_device": on_device,
            "usage_breakdown": {
                "host": host,
                "neuroncore_memory_usage": dict(sorted(by_core.items())),
            },
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
