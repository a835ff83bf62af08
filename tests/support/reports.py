"""Builders of minimal reports, and a collector that reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector, CollectResult
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.model import Layout, Machine, Owners, Snapshot, Timestamp
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.report import Report, decode

HARDWARE = {"neuron_device_count": 2, "neuroncore_per_device_count": 2, "error": ""}
INSTANCE = {
    "instance_name": "",
    "instance_id": "i-0123456789abcdef0",
    "instance_type": "trn1.32xlarge",
    "instance_availability_zone": "us-east-1a",
    "instance_region": "us-east-1",
    "subnet_id": "subnet-0123",
    "error": "",
}


def group(error: str = "", period: float = 5.0, **content: Any) -> dict[str, Any]:
    """Return one group of a report."""
    return {"period": period, **content, "error": error}


def cores(**percent: float) -> dict[str, Any]:
    """Return `neuroncore_counters` with the percent of each core: cores(_0=50)."""
    used = {name.strip("_"): {"neuroncore_utilization": share} for name, share in percent.items()}
    return group(neuroncores_in_use=used)


def executions(
    completed: float = 0,
    latency: dict[str, float] | None = None,
    device_latency: dict[str, float] | None = None,
    errors: dict[str, float] | None = None,
    **statuses: float,
) -> dict[str, Any]:
    """Return `execution_stats`."""
    return group(
        error_summary={"numerical": 0, "hardware": 0, **(errors or {})},
        execution_summary={"completed": completed, "timed_out": 0, **statuses},
        latency_stats={"total_latency": latency, "device_latency": device_latency},
    )


def memory(by_core: dict[str, dict[str, float]], host: float = 0) -> dict[str, Any]:
    """Return `memory_used`; missing categories are 0."""
    zeros = dict.fromkeys(
        ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors"), 0
    )
    complete = {core: {**zeros, **parts} for core, parts in by_core.items()}
    return group(
        neuron_runtime_used_bytes={
            "host": host,
            "neuron_device": sum(sum(parts.values()) for parts in complete.values()),
            "usage_breakdown": {"neuroncore_memory_usage": complete},
        },
        loaded_models=[],
    )


def runtime(pid: int = 100, tag: str = "app", error: str = "", **groups: Any) -> dict[str, Any]:
    """Return one entry of `neuron_runtime_data`."""
    return {"pid": pid, "neuron_runtime_tag": tag, "error": error, "report": groups}


def ecc(*devices: dict[str, float], error: str = "") -> dict[str, Any]:
    """Return `neuron_hw_counters` with the readings of devices 0, 1, …"""
    zeros = dict.fromkeys(
        ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_corrected", "sram_ecc_uncorrected"),
        0,
    )
    listed = [
        {"neuron_device_index": index, **zeros, **readings}
        for index, readings in enumerate(devices)
    ]
    return group(error, neuron_devices=listed)


def report(*runtimes: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a report of two devices with two cores each; `changes` replace its sections."""
    return {
        "neuron_runtime_data": list(runtimes),
        "system_data": {},
        "instance_info": INSTANCE,
        "neuron_hardware_info": HARDWARE,
        **changes,
    }


def report_of_devices(
    count: int, *listed: int, busy: Mapping[int, float] | None = None
) -> dict[str, Any]:
    """Return a report of devices with two cores each that counts and lists these devices.

    `busy` is the percent of each core in a runtime, without which the machine is idle.
    """
    devices = [{"neuron_device_index": index, "mem_ecc_corrected": 0} for index in listed]
    used = cores(**{f"_{core}": percent for core, percent in (busy or {}).items()})
    return report(
        *([runtime(neuroncore_counters=used, memory_used=memory({}))] if busy else []),
        system_data={"neuron_hw_counters": group(neuron_devices=devices)} if listed else {},
        neuron_hardware_info={**HARDWARE, "neuron_device_count": count},
    )


def decode_document(document: Any) -> Report:
    """Return the document as the decoder reads it."""
    return decode(json.dumps(document).encode()).report


class Harness:
    """Collector of all metrics, with a clock that advances 5 s per report."""

    def __init__(
        self,
        *,
        period: float | None = 5.0,
        ecc: str = "reset_aware",
        generic: str = "ignore",
        runtime_labels: tuple[str, ...] = ("runtime_tag",),
        layout: Layout = Layout.CORE,
        container_devices: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.counters = Counters(ecc, generic)
        rows = [row for row in CATALOGUE if not row.layouts or layout in row.layouts]
        self.collector = Collector(
            rows,
            self.counters,
            ReportPeriod(period),
            runtime_labels,
            container_devices=container_devices,
        )
        self.now = 1000.0

    def collect(
        self,
        document: Any,
        machine: Machine | None = None,
        owners: Owners | None = None,
        hardware: HardwareReadings = NO_READINGS,
    ) -> CollectResult:
        """Collect a report, five seconds after the previous one."""
        return self.collect_report(decode_document(document), machine, owners, hardware)

    def collect_report(
        self,
        read: Report,
        machine: Machine | None = None,
        owners: Owners | None = None,
        hardware: HardwareReadings = NO_READINGS,
    ) -> CollectResult:
        """Collect a decoded report."""
        self.now += 5
        at = Timestamp(1_700_000_000 + self.now, self.now)
        machine, owners = machine or Machine(), owners or Owners()
        return self.collector.collect(read, at, machine, owners, hardware)

    def samples(self, document: Any, **more: Any) -> Samples:
        """Return the samples of a report."""
        return Samples(self.collect(document, **more).snapshot)


class Samples:
    """Values of a snapshot by metric name and labels."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    def values(self, name: str) -> dict[tuple[str, ...], Any]:
        """Return the present values of a metric by the values of its labels."""
        return {
            tuple(value for _, value in series.labels): value
            for series, value in zip(self.snapshot.shape, self.snapshot.values, strict=True)
            if series.spec.name == name and value is not None
        }

    def value(self, name: str, *labels: str) -> Any:
        """Return the value of one series; None if it is absent."""
        return self.values(name).get(labels)
