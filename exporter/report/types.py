"""A report of neuron-monitor (SDK 2.4 and later) as types.

Only what is used is declared: the decoder skips the rest, which is most of a line's bytes. Every
field may be absent or null and none has a default of zero. Field names are neuron-monitor's own,
so that a path in an error is a path in the report.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Quantity = Annotated[int, Meta(ge=0, le=2**63 - 1)] | Annotated[float, Meta(ge=0, le=2**63)]
"""Percentages, bytes, seconds, rates and tallies are never negative, and far below 2^63; the bound
keeps every sum of them finite. Whole numbers stay integers, since a report is full of zeros and an
integer zero costs nothing."""

Index = Annotated[int, Meta(ge=0, le=65535)]
DeviceCount = Annotated[int, Meta(ge=0, le=256)]
CoresPerDevice = Annotated[int, Meta(ge=0, le=64)]
Pid = Annotated[int, Meta(ge=0, le=2**31 - 1)]

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Quantities = dict[Name, Quantity | None]
"""An open map: a name that a later SDK adds is kept."""


class Section(Struct, gc=False):
    """What every group of a report has: the period that it covers (s) and its error text."""

    period: Quantity | None = None
    error: str | None = None


class CoreCounters(Struct, gc=False):
    """One NeuronCore as one runtime used it: percent of the period, and FLOP/s."""

    neuroncore_utilization: Quantity | None = None
    effective_flops: Quantity | None = None


class NeuroncoreCounters(Section, gc=False):
    """`neuroncore_counters`: by global core index."""

    neuroncores_in_use: dict[Index, CoreCounters | None] | None = None


class LatencyStats(Struct, gc=False):
    """Percentiles in seconds; null when nothing was executed."""

    total_latency: Quantities | None = None
    device_latency: Quantities | None = None


class ExecutionStats(Section, gc=False):
    """`execution_stats`: tallies of the period."""

    error_summary: Quantities | None = None
    execution_summary: Quantities | None = None
    latency_stats: LatencyStats | None = None


class CoreMemory(Struct, gc=False):
    """Bytes of device memory on one NeuronCore, by category."""

    constants: Quantity | None = None
    model_code: Quantity | None = None
    model_shared_scratchpad: Quantity | None = None
    runtime_memory: Quantity | None = None
    tensors: Quantity | None = None


class UsageBreakdown(Struct, gc=False):
    """Where the bytes of a runtime are."""

    neuroncore_memory_usage: dict[Index, CoreMemory | None] | None = None


class RuntimeUsedBytes(Struct, gc=False):
    """Bytes that a runtime uses on the host and on the devices."""

    host: Quantity | None = None
    neuron_device: Quantity | None = None
    usage_breakdown: UsageBreakdown | None = None


class MemoryUsed(Section, gc=False):
    """`memory_used`."""

    neuron_runtime_used_bytes: RuntimeUsedBytes | None = None


class RuntimeVcpu(Struct, gc=False):
    """Percent of the host's CPUs."""

    user: Quantity | None = None
    system: Quantity | None = None


class RuntimeVcpuUsage(Section, gc=False):
    """`neuron_runtime_vcpu_usage`."""

    vcpu_usage: RuntimeVcpu | None = None


class RuntimeReport(Struct, gc=False):
    """The groups of one runtime."""

    neuroncore_counters: NeuroncoreCounters | None = None
    execution_stats: ExecutionStats | None = None
    memory_used: MemoryUsed | None = None
    neuron_runtime_vcpu_usage: RuntimeVcpuUsage | None = None


class Runtime(Struct, gc=False):
    """One entry of `neuron_runtime_data`: a process that uses Neuron."""

    pid: Pid | None = None
    neuron_runtime_tag: str | None = None
    error: str | None = None
    report: RuntimeReport | None = None


class Device(Struct, gc=False):
    """ECC readings of one device."""

    neuron_device_index: Index | None = None
    mem_ecc_corrected: Quantity | None = None
    mem_ecc_uncorrected: Quantity | None = None
    sram_ecc_corrected: Quantity | None = None
    sram_ecc_uncorrected: Quantity | None = None


class HwCounters(Section, gc=False):
    """`neuron_hw_counters`; the list is null on a machine without a driver."""

    neuron_devices: list[Device | None] | None = None


class CpuShares(Struct, gc=False):
    """Percent of the period."""

    user: Quantity | None = None
    nice: Quantity | None = None
    system: Quantity | None = None
    io_wait: Quantity | None = None
    irq: Quantity | None = None
    soft_irq: Quantity | None = None


class Cpu(Struct, gc=False):
    """One CPU of the host: counted, not read."""


class VcpuUsage(Section, gc=False):
    """`vcpu_usage`."""

    average_usage: CpuShares | None = None
    usage_data: dict[str, Cpu | None] | None = None


class MemoryInfo(Section, gc=False):
    """`memory_info`, in bytes."""

    memory_total_bytes: Quantity | None = None
    memory_used_bytes: Quantity | None = None
    swap_total_bytes: Quantity | None = None
    swap_used_bytes: Quantity | None = None


class SystemData(Struct, gc=False):
    """The groups of the machine."""

    neuron_hw_counters: HwCounters | None = None
    vcpu_usage: VcpuUsage | None = None
    memory_info: MemoryInfo | None = None


class InstanceInfo(Struct, gc=False):
    """What neuron-monitor learned from the instance metadata service."""

    instance_name: str | None = None
    instance_id: str | None = None
    instance_type: str | None = None
    instance_availability_zone: str | None = None
    instance_region: str | None = None
    subnet_id: str | None = None
    ultraserver_id: str | None = None
    error: str | None = None


class HardwareInfo(Struct, gc=False):
    """The devices of the machine. Counts of cores are of logical cores."""

    neuron_device_count: DeviceCount | None = None
    neuroncore_per_device_count: CoresPerDevice | None = None
    neuron_device_memory_size: Quantity | None = None
    error: str | None = None


class Report(Struct, gc=False):
    """One line of the stream.

    `neuron_runtime_data` tells null (no runtimes) from absent (nobody asked for runtimes).
    """

    neuron_runtime_data: list[Runtime | None] | UnsetType | None = UNSET
    system_data: SystemData | None = None
    instance_info: InstanceInfo | None = None
    neuron_hardware_info: HardwareInfo | None = None
