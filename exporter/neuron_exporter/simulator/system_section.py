"""The sections of the machine in a report."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from neuron_exporter.model import SIMULATED_ID, Group
from neuron_exporter.simulator.hardware import Hardware
from neuron_exporter.simulator.processes import Process, ProcessKind, Work
from neuron_exporter.simulator.runtime_section import groups
from neuron_exporter.simulator.scenarios import Scenario

_ECC = ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_uncorrected", "sram_ecc_corrected")
_MAX_MEMORY_SHARE = 0.98
_MAX_USER, _MAX_SYSTEM = 90.0, 9.0


def system_data(
    hardware: Hardware,
    scenario: Scenario,
    work: list[Work],
    covered: Mapping[Group, float],
    rng: random.Random,
) -> dict[str, Any]:
    """Return `system_data` with the groups that are covered."""
    makers: dict[Group, Callable[[], dict[str, Any]]] = {
        Group.MEMORY_INFO: lambda: _memory_info(hardware, scenario, work, rng),
        Group.VCPU_USAGE: lambda: _vcpu_usage(hardware, scenario, work, rng),
        Group.HW_COUNTERS: lambda: hardware_counters(hardware),
    }
    return groups(makers, covered)


def hardware_counters(hardware: Hardware) -> dict[str, Any]:
    """Return `neuron_hw_counters` of devices without errors, and without a period."""
    return {
        "neuron_devices": [
            {"neuron_device_index": device, **dict.fromkeys(_ECC, 0)}
            for device in range(hardware.devices)
        ]
    }


def _memory_info(
    hardware: Hardware, scenario: Scenario, work: list[Work], rng: random.Random
) -> dict[str, Any]:
    total = hardware.memory * 31 // 32
    own = int(total * scenario.host_memory) + rng.randrange(4096) * 4096
    used = own + sum(done.host_memory for done in work)
    return {
        "memory_total_bytes": total,
        "memory_used_bytes": min(used, int(total * _MAX_MEMORY_SHARE)),
        "swap_total_bytes": 0,
        "swap_used_bytes": 0,
    }


def _vcpu_usage(
    hardware: Hardware, scenario: Scenario, work: list[Work], rng: random.Random
) -> dict[str, Any]:
    user = min(_MAX_USER, scenario.host_user + sum(done.cpu_user for done in work))
    system = min(_MAX_SYSTEM, scenario.host_system + sum(done.cpu_system for done in work))
    return {
        "average_usage": _shares(user, system),
        "usage_data": {
            str(cpu): _shares(min(_MAX_USER, max(0.0, rng.gauss(user, 3))), system)
            for cpu in sorted(range(hardware.vcpus), key=str)
        },
        "context_switch_count": 1200 + rng.randrange(500),
    }


def _shares(user: float, system: float) -> dict[str, float]:
    user, system = round(user, 2), round(system, 2)
    return {
        "user": user,
        "nice": 0,
        "system": system,
        "idle": round(100 - user - system, 2),
        "io_wait": 0,
        "irq": 0,
        "soft_irq": 0,
    }


def instance_info(hardware: Hardware, seed: int) -> dict[str, str]:
    """Return `instance_info`. Each seed is another machine."""
    digest = zlib.crc32(f"{seed}:{hardware.name}".encode())
    ultraserver = (
        {"ultraserver_id": f"u-{digest:08x}{SIMULATED_ID}"} if hardware.in_ultraserver else {}
    )
    return {
        "instance_name": "",
        "instance_id": f"i-0{digest:08x}{SIMULATED_ID}",
        "instance_type": hardware.name,
        "instance_availability_zone": "us-east-1a",
        "instance_availability_zone_id": "use1-az4",
        "instance_region": "us-east-1",
        "ami_id": f"ami-0{digest:08x}00000000",
        "subnet_id": f"subnet-0{digest:08x}00000000",
        **ultraserver,
        "error": "",
    }


def hardware_info(hardware: Hardware) -> dict[str, Any]:
    """Return `neuron_hardware_info`."""
    counts = {
        "neuron_device_count": hardware.devices,
        "neuroncore_per_device_count": hardware.cores_per_device,
    }
    if hardware.generation.old_tools:
        return {**counts, "error": ""}
    return {
        "neuron_device_type": hardware.accelerator,
        "neuron_device_version": hardware.generation.device_version,
        "neuroncore_version": hardware.generation.core_version,
        **counts,
        "neuron_device_memory_size": hardware.device_memory,
        "logical_neuroncore_config": hardware.logical_core_size,
        "error": "",
    }


def kubernetes_info(
    hardware: Hardware, running: Iterable[Process], period: float
) -> dict[str, Any]:
    """Return `neuron_k8s_info`, with a pod for each long-running runtime."""
    cores: dict[str, Any] = {}
    devices: dict[str, Any] = {}
    for process in running:
        if process.kind is ProcessKind.HELPER:
            continue
        digest = zlib.crc32(f"{process.pid}".encode())
        owner = {
            "pod_name": f"workload-{digest:08x}",
            "namespace": "simulated",
            "container_name": ["neuron"],
        }
        for core in process.cores:
            cores.setdefault(str(core), owner)
            devices.setdefault(str(core // hardware.cores_per_device), owner)
    return {
        "period": period,
        "neuroncores_k8s_info": dict(sorted(cores.items())),
        "neurondevices_k8s_info": dict(sorted(devices.items())),
        "error": "",
    }
