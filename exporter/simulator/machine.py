"""A simulated machine: gives the reports that neuron-monitor would print on it."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from exporter.facts.instance_types import INSTANCE_TYPES
from exporter.model import Group
from exporter.simulator.load import Process, Work, helpers, processes
from exporter.simulator.options import Options

_GIB = 2**30
_STATUSES = (
    "completed",
    "completed_with_err",
    "completed_with_num_err",
    "timed_out",
    "incorrect_input",
    "failed_to_queue",
)
_ERRORS = ("numerical", "transient", "model", "runtime", "hardware")
_VERSIONS = {"inferentia2": ("v3", "v2"), "trainium": ("v2", "v2"), "trainium2": ("v4", "v3")}
_PEAK_FLOPS = 90e12


class Machine:
    """The reports of one run, in order; the same options give the same ones."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._type = INSTANCE_TYPES[options.instance_type]
        self._rng = random.Random(options.seed)  # noqa: S311 (a simulation)
        self._staying = processes(
            options.scenario, options.runtimes, self._type.cores, options.seed
        )
        # Inf1 is served by tools of its own time, with fields of that time.
        self._old = self._type.accelerator == "inferentia"
        self._times = _times(options.periods.values())
        self.next_at = next(self._times, None)
        """Seconds from the start to the next report; None when there will be none."""

    def report(self, number: int) -> dict[str, Any]:
        """The report of this number, counted from 0. Ask for each once, in order."""
        at, self.next_at = self.next_at or 0, next(self._times, None)
        due = {
            group: float(period)
            for group, period in self._options.periods.items()
            if at % period == 0
        }
        if number == 0:
            # The first report comes at once and covers next to nothing.
            due = {group: 0.0005 + 0.06 * self._rng.random() for group in due}
            if not self._options.own_configuration:
                due.pop(Group.VCPU_USAGE, None)
        else:
            due = {group: period + self._rng.gauss(0, 0.0004) for group, period in due.items()}
        cores, seed = self._type.cores, self._options.seed
        running = [
            *(process for process in self._staying if process.lives(number)),
            *helpers(self._options.scenario, number, cores, seed),
        ]
        span = due.get(Group.EXECUTION_STATS, 0.0)
        work = [(process, process.work(number, span, self._rng)) for process in running]
        return {
            "neuron_runtime_data": [
                self._runtime(process, done, due, number) for process, done in work
            ],
            "system_data": self._system(work, due),
            "instance_info": self._instance_info(),
            "neuron_hardware_info": self._hardware_info(),
        }

    # Runtimes

    def _runtime(
        self, process: Process, work: Work, due: Mapping[Group, float], number: int
    ) -> dict[str, Any]:
        makers: dict[Group, Callable[[], dict[str, Any]]] = {
            Group.EXECUTION_STATS: lambda: self._execution_stats(work),
            Group.MEMORY_USED: lambda: self._memory_used(process, number),
            Group.RUNTIME_VCPU_USAGE: lambda: {
                "vcpu_usage": {"user": work.cpu_user, "system": work.cpu_system}
            },
            Group.NEURONCORE_COUNTERS: lambda: {"neuroncores_in_use": self._cores(work)},
        }
        return {
            "pid": process.pid,
            "neuron_runtime_tag": process.tag,
            "error": "",
            "report": {
                group.value: {"period": due[group], **make(), "error": ""}
                for group, make in makers.items()
                if group in due
            },
        }

    def _cores(self, work: Work) -> dict[str, Any]:
        """Every core of the machine, as neuron-monitor lists them for every runtime."""
        listed: dict[str, Any] = {}
        for core in sorted(range(self._type.cores), key=str):
            share = work.utilization.get(core, 0)
            listed[str(core)] = {"neuroncore_utilization": share}
            if not self._old:
                listed[str(core)]["effective_flops"] = int(share / 100 * _PEAK_FLOPS * 0.4)
        return listed

    def _execution_stats(self, work: Work) -> dict[str, Any]:
        errors = dict.fromkeys(("generic", *_ERRORS) if self._old else _ERRORS, 0)
        errors["numerical"] = work.numerical_errors
        statuses = dict.fromkeys(_STATUSES, 0)
        statuses["completed"] = work.completed
        statuses["completed_with_num_err"] = work.numerical_errors
        statuses["timed_out"] = work.timed_out
        return {
            "error_summary": errors,
            "execution_summary": statuses,
            "latency_stats": {
                "total_latency": work.latency,
                "device_latency": work.device_latency,
            },
        }

    def _memory_used(self, process: Process, number: int) -> dict[str, Any]:
        by_core = {str(core): process.memory(core, number) for core in process.cores}
        host = {
            "application_memory": 1117293568 + 4096 * process.pid,
            "constants": 0,
            "dma_buffers": 4194304,
            "tensors": 65536,
        }
        return {
            "neuron_runtime_used_bytes": {
                "host": sum(host.values()),
                "neuron_device": sum(sum(parts.values()) for parts in by_core.values()),
                "usage_breakdown": {"host": host, "neuroncore_memory_usage": by_core},
            },
            "loaded_models": [self._model(process, core) for core in process.cores],
        }

    def _model(self, process: Process, core: int) -> dict[str, Any]:
        digest = zlib.crc32(f"{process.tag}:{core}".encode())
        return {
            "name": f"/models/{process.tag}/{digest:08x}.neff",
            "uuid": f"{digest:08x}" * 4,
            "model_id": 10001 + core,
            "is_running": False,
            "subgraphs": {
                "sg_00": {
                    "memory_used_bytes": {"host": 20480, "neuron_device": 24128},
                    "neuroncore_index": core % self._type.cores_per_device,
                    "neuron_device_index": core // self._type.cores_per_device,
                }
            },
        }

    # The machine

    def _system(
        self, work: list[tuple[Process, Work]], due: Mapping[Group, float]
    ) -> dict[str, Any]:
        makers: dict[Group, Callable[[], dict[str, Any]]] = {
            Group.MEMORY_INFO: lambda: self._memory_info(len(work)),
            Group.VCPU_USAGE: lambda: self._vcpu_usage(work),
            Group.HW_COUNTERS: self.hardware_counters,
        }
        return {
            group.value: {"period": due[group], **make(), "error": ""}
            for group, make in makers.items()
            if group in due
        }

    def _memory_info(self, running: int) -> dict[str, Any]:
        total = self._type.memory_gib * _GIB * 31 // 32
        used = int(total * 0.06) + running * total // 200 + self._rng.randrange(4096) * 4096
        return {
            "memory_total_bytes": total,
            "memory_used_bytes": min(used, total),
            "swap_total_bytes": 0,
            "swap_used_bytes": 0,
        }

    def _vcpu_usage(self, work: list[tuple[Process, Work]]) -> dict[str, Any]:
        user = min(90.0, 0.8 + sum(done.cpu_user for _, done in work))
        system = min(9.0, 0.3 + sum(done.cpu_system for _, done in work))
        by_cpu = {}
        for cpu in sorted(range(self._type.vcpus), key=str):
            own = min(90.0, max(0.0, self._rng.gauss(user, 3)))
            by_cpu[str(cpu)] = _shares(own, system)
        return {
            "average_usage": _shares(user, system),
            "usage_data": by_cpu,
            "context_switch_count": 1200 + self._rng.randrange(500),
        }

    def hardware_counters(self) -> dict[str, Any]:
        kinds = ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_uncorrected")
        return {
            "neuron_devices": [
                {"neuron_device_index": device, **dict.fromkeys((*kinds, "sram_ecc_corrected"), 0)}
                for device in range(self._type.devices)
            ]
        }

    def _instance_info(self) -> dict[str, str]:
        digest = zlib.crc32(f"{self._options.seed}:{self._type.name}".encode())
        return {
            "instance_name": "",
            "instance_id": f"i-0{digest:08x}51a7e0ff",
            "instance_type": self._type.name,
            "instance_availability_zone": "us-east-1a",
            "instance_availability_zone_id": "use1-az4",
            "instance_region": "us-east-1",
            "ami_id": f"ami-0{digest:08x}00000000",
            "subnet_id": f"subnet-0{digest:08x}00000000",
            "error": "",
        }

    def _hardware_info(self) -> dict[str, Any]:
        counts = {
            "neuron_device_count": self._type.devices,
            "neuroncore_per_device_count": self._type.cores_per_device,
        }
        if self._old:
            return {**counts, "error": ""}
        device, core = _VERSIONS[self._type.accelerator]
        return {
            "neuron_device_type": self._type.accelerator,
            "neuron_device_version": device,
            "neuroncore_version": core,
            **counts,
            "neuron_device_memory_size": self._type.device_memory_bytes,
            "logical_neuroncore_config": 1,
            "error": "",
        }


def _times(periods: Iterable[int]) -> Iterator[int]:
    """When some group is due, in seconds from the start."""
    known = set(periods)
    at = 0
    while known:
        yield at
        at = min(at - at % period + period for period in known)


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
