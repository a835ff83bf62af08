"""Types of neuron-monitor's reports, for every generation since 2021.

Only fields that the exporter uses are declared. The decoder skips the rest, which is most of a
line's bytes; `IGNORED_FIELDS` lists the known ones among them. Every field may be absent or null,
and none defaults to zero. Field names are neuron-monitor's own, so that a path in an error is a
path in the report.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

Quantity = Annotated[int, Meta(ge=0, le=2**63 - 1)] | Annotated[float, Meta(ge=0, le=2**63)]
"""A percentage, or a number of bytes, seconds, events or operations per second.

None is negative and all are far below 2^63, a bound that keeps every sum finite. Whole numbers stay
integers: most values are zero, and an integer zero needs no allocation."""

Index = Annotated[int, Meta(ge=0, le=4095)]
"""Index of a core, a device or a CPU. Current machines have at most 192 of each."""

UNREADABLE = -1
"""Key in a map by `Index` that stands for all keys that could not be read."""

DeviceCount = Annotated[int, Meta(ge=0, le=256)]
DeviceIndex = Annotated[int, Meta(ge=0, le=255)]
CoresPerDevice = Annotated[int, Meta(ge=0, le=64)]
Pid = Annotated[int, Meta(ge=0, le=2**31 - 1)]

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Quantities = dict[Name, Quantity | None]
"""Values by name. Names that a later SDK adds are kept."""

EMPTY_TYPES = (type(None), UnsetType)
"""Types of a field that is null or absent."""


class Section(Struct, gc=False):
    """Common fields of all groups: the covered period in seconds, and the error text."""

    period: Quantity | None = None
    error: str | None = None


class PhysicalCore(Struct, gc=False):
    """A physical core of a logical core, with its utilization in percent of the period."""

    neuroncore_utilization: Quantity | None = None


class CoreCounters(Struct, gc=False):
    """Use of one NeuronCore by one runtime: percent of the period, and FLOP/s.

    `flops` exists from SDK 2.7 (2023) to 2024. `v3d` lists the physical cores of Trn2 and Trn3.
    """

    neuroncore_utilization: Quantity | None = None
    flops: Quantity | None = None
    effective_flops: Quantity | None = None
    v3d: dict[Name, PhysicalCore | None] | None = None


class NeuroncoreCounters(Section, gc=False):
    """`neuroncore_counters`: by global core index."""

    neuroncores_in_use: dict[Index, CoreCounters | None] | None = None


class LatencyStats(Struct, gc=False):
    """Latency percentiles in seconds; null if nothing was executed."""

    total_latency: Quantities | None = None
    device_latency: Quantities | None = None


class ExecutionStats(Section, gc=False):
    """`execution_stats` (`inference_stats` up to SDK 2.3): counts of the period."""

    error_summary: Quantities | None = None
    execution_summary: Quantities | None = None
    inference_summary: Quantities | None = None
    latency_stats: LatencyStats | None = None


class CoreMemory(Struct, gc=False):
    """Bytes of device memory on one NeuronCore, by category."""

    constants: Quantity | None = None
    model_code: Quantity | None = None
    model_shared_scratchpad: Quantity | None = None
    runtime_memory: Quantity | None = None
    tensors: Quantity | None = None


class HostMemory(Struct, gc=False):
    """Bytes of the host's memory, by category."""

    application_memory: Quantity | None = None
    constants: Quantity | None = None
    dma_buffers: Quantity | None = None
    tensors: Quantity | None = None


class UsageBreakdown(Struct, gc=False):
    """Memory of a runtime by location; since SDK 2.4."""

    host: HostMemory | None = None
    neuroncore_memory_usage: dict[Index, CoreMemory | None] | None = None


class RuntimeUsedBytes(Struct, gc=False):
    """Bytes used by a runtime on the host and on the devices."""

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
    inference_stats: ExecutionStats | None = None
    memory_used: MemoryUsed | None = None
    neuron_runtime_vcpu_usage: RuntimeVcpuUsage | None = None


class Runtime(Struct, gc=False):
    """One entry of `neuron_runtime_data`: a process that uses Neuron.

    Before SDK 1.16 an entry has an index instead of a process id and a tag.
    """

    pid: Pid | None = None
    neuron_runtime_tag: str | None = None
    neuron_runtime_index: Index | None = None
    error: str | None = None
    report: RuntimeReport | None = None


class Device(Struct, gc=False):
    """ECC readings of one device."""

    neuron_device_index: DeviceIndex | None = None
    mem_ecc_corrected: Quantity | None = None
    mem_ecc_uncorrected: Quantity | None = None
    sram_ecc_corrected: Quantity | None = None
    sram_ecc_uncorrected: Quantity | None = None


class HwCounters(Section, gc=False):
    """`neuron_hw_counters`. The list is null on a machine without a driver."""

    neuron_devices: list[Device | None] | None = None


class CpuShares(Struct, gc=False):
    """Use of one host CPU or of all, in percent of the period."""

    user: Quantity | None = None
    nice: Quantity | None = None
    system: Quantity | None = None
    io_wait: Quantity | None = None
    irq: Quantity | None = None
    soft_irq: Quantity | None = None


class VcpuUsage(Section, gc=False):
    """`vcpu_usage`. Context switches are a count of the period."""

    average_usage: CpuShares | None = None
    usage_data: dict[Index, CpuShares | None] | None = None
    context_switch_count: Quantity | None = None


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
    """`instance_info`, read by neuron-monitor from the instance metadata service."""

    instance_name: str | None = None
    instance_id: str | None = None
    instance_type: str | None = None
    instance_availability_zone: str | None = None
    instance_region: str | None = None
    subnet_id: str | None = None
    ultraserver_id: str | None = None
    error: str | None = None


class HardwareInfo(Struct, gc=False):
    """`neuron_hardware_info`. Core counts refer to logical cores."""

    neuron_device_count: DeviceCount | None = None
    neuroncore_per_device_count: CoresPerDevice | None = None
    neuron_device_memory_size: Quantity | None = None
    neuron_device_type: str | None = None
    neuron_device_version: str | None = None
    neuroncore_version: str | None = None
    logical_neuroncore_config: CoresPerDevice | None = None
    error: str | None = None


class Pod(Struct, gc=False):
    """Pod to which a core or device is allocated, with one or several of its containers."""

    namespace: str | None = None
    pod_name: str | None = None
    container_name: list[str | None] | None = None


class KubernetesInfo(Section, gc=False):
    """`neuron_k8s_info`, if it is enabled (SDK 2.23 and later)."""

    neuroncores_k8s_info: dict[Index, Pod | None] | None = None
    neurondevices_k8s_info: dict[Index, Pod | None] | None = None


class Report(Struct, gc=False):
    """One line of the stream.

    `neuron_runtime_data` is null if there are no runtimes, and absent if its groups are not
    requested. `instance_data` is the name of `instance_info` before SDK 2.3.
    """

    neuron_runtime_data: list[Runtime | None] | UnsetType | None = UNSET
    system_data: SystemData | None = None
    instance_info: InstanceInfo | None = None
    instance_data: InstanceInfo | None = None
    neuron_hardware_info: HardwareInfo | None = None
    neuron_k8s_info: KubernetesInfo | None = None


IGNORED_FIELDS: dict[type[Struct], frozenset[str]] = {
    Runtime: frozenset({"address"}),
    MemoryUsed: frozenset({"loaded_models"}),
    CpuShares: frozenset({"idle"}),
    InstanceInfo: frozenset({"instance_availability_zone_id", "ami_id"}),
}
"""Known fields that are not read. A field that is neither declared nor listed here is unknown."""
