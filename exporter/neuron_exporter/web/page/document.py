"""The hardware part of the page's document: a snapshot by core, device and runtime.

Metrics that no sink selects are missing, and so are series without a current value.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from neuron_exporter.facts.problems import STALLED_SECONDS
from neuron_exporter.facts.report_names import FAILED_STATUSES
from neuron_exporter.model import EntityKind, Labels, Owner, Series, Snapshot

Document = dict[str, Any]

_CORE_MEMORY_PREFIX = "neuroncore_memory_usage_"
_COMPLETED = "completed"
_RATED = ("execution_status_total", "neuron_executions_total")
_RUNTIME_SPLITS = {
    "execution_status_total": "executions",
    "execution_errors_total": "errors",
    "execution_latency_seconds": "latency_seconds",
    "execution_device_latency_seconds": "device_latency_seconds",
}
_LOCATIONS = {"neuron_device": "device_memory_bytes", "host": "host_memory_bytes"}
_HARDWARE_COUNTS = {
    "neuron_device_count": "devices",
    "neuroncore_per_device_count": "cores_per_device",
    "neuron_device_memory_size": "memory_per_device_bytes",
    "logical_neuroncore_config": "physical_cores_per_core",
}
_HARDWARE_TYPES = {
    "neuron_device_type": "device_type",
    "neuron_device_version": "device_version",
    "neuroncore_version": "core_version",
}
_HOST = {
    "system_memory_used_bytes": "memory_used_bytes",
    "system_memory_total_bytes": "memory_total_bytes",
    "system_swap_used_bytes": "swap_used_bytes",
    "system_swap_total_bytes": "swap_total_bytes",
    "system_vcpu_count": "vcpus",
}


class _Sample(NamedTuple):
    """A series with its value, and its increase per second if a previous snapshot exists."""

    series: Series
    value: Any
    rate: float | None = None

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.series.labels)


Samples = Mapping[tuple[str, EntityKind], list[_Sample]]


def build_reading(snapshot: Snapshot, previous: Snapshot | None) -> Document:
    """Return the hardware state in a snapshot, with rates since the `previous` one."""
    samples = _by_metric(snapshot, previous)
    core_runtimes = list(_core_runtimes(samples))
    return {
        "hardware": _hardware(samples),
        "cores": _cores(samples, core_runtimes, snapshot),
        "devices": _devices(samples),
        "runtimes": _runtimes(samples, core_runtimes),
        "executions": _executions(samples),
        "host": _host(samples),
    }


def _by_metric(snapshot: Snapshot, previous: Snapshot | None) -> Samples:
    """Return the series with a value, by metric name and entity kind.

    The same name may describe two kinds of entities in two layouts.
    """
    samples: dict[tuple[str, EntityKind], list[_Sample]] = defaultdict(list)
    seconds = snapshot.taken_at.monotonic - previous.taken_at.monotonic if previous else 0.0
    earlier_values = _earlier_values(snapshot, previous)
    for series, value, earlier in zip(snapshot.shape, snapshot.values, earlier_values, strict=True):
        if value is None:
            continue
        rate = None
        if series.spec.name in _RATED and earlier is not None and seconds > 0:
            rate = max(0.0, value - earlier) / seconds
        samples[series.spec.name, series.spec.entity_kind].append(_Sample(series, value, rate))
    return samples


def _earlier_values(snapshot: Snapshot, previous: Snapshot | None) -> Sequence[Any]:
    """Return the previous values of the rated series; that of a new series is its start value."""
    if previous is None:
        return (None,) * len(snapshot.shape)
    if previous.shape is snapshot.shape:
        return previous.values
    known = {
        series: value
        for series, value in zip(previous.shape, previous.values, strict=True)
        if series.spec.name in _RATED
    }
    return [
        known.get(series, series.start_value) if series.spec.name in _RATED else None
        for series in snapshot.shape
    ]


def _hardware(samples: Samples) -> Document:
    """Return types and counts of the hardware, from the labels of the hardware series."""
    labels: dict[str, str] = {}
    for (_, kind), found in samples.items():
        if kind in (EntityKind.HARDWARE, EntityKind.HARDWARE_COUNTS):
            labels |= found[0].labels
    counts = {key: labels.get(name, "") for name, key in _HARDWARE_COUNTS.items()}
    types = {key: labels.get(name, "") for name, key in _HARDWARE_TYPES.items()}
    return {key: int(text) for key, text in counts.items() if text.isdigit()} | {
        key: text for key, text in types.items() if text
    }


class _CoreRuntime(NamedTuple):
    """A runtime that uses a core."""

    core: int
    tag: str
    pid: int | None
    owner: Owner


def _core_runtimes(samples: Samples) -> Iterator[_CoreRuntime]:
    for sample in samples.get(("neuroncore_runtime_info", EntityKind.CORE_RUNTIME), ()):
        labels, pid = sample.labels, sample.labels.get("pid")
        yield _CoreRuntime(
            int(labels["neuroncore"]),
            labels.get("runtime_tag", ""),
            None if pid is None else int(pid),
            sample.series.owner,
        )


def _cores(
    samples: Samples, core_runtimes: Iterable[_CoreRuntime], snapshot: Snapshot
) -> list[Document]:
    """Return every core with a value, in order. `runtimes` is left out if they are unknown, or if
    the utilization of the core is."""
    per_device = snapshot.cores_per_device
    cores: dict[int, Document] = defaultdict(dict)

    def document_of(sample: _Sample) -> Document:
        return cores[int(sample.labels["neuroncore"])]

    for sample in _of_cores(samples, "neuroncore_utilization_ratio"):
        core = document_of(sample)
        core["utilization"] = min(1.0, core.get("utilization", 0.0) + sample.value)
        if sample.series.spec.entity_kind is EntityKind.CORE:
            _set_owner(core, sample.series.owner)
    for name in dict.fromkeys(name for name, _ in samples if name.startswith(_CORE_MEMORY_PREFIX)):
        category = name.removeprefix(_CORE_MEMORY_PREFIX)
        for sample in _of_cores(samples, name):
            memory = document_of(sample).setdefault("memory_bytes", {})
            memory[category] = memory.get(category, 0) + sample.value
    name = "neuroncore_physical_utilization_ratio"
    for sample in samples.get((name, EntityKind.PHYSICAL_CORE), ()):
        physical = document_of(sample).setdefault("physical_utilization", {})
        physical[sample.labels["physical_neuroncore"]] = sample.value
    for name in ("flops", "effective_flops"):
        for sample in samples.get((f"neuroncore_{name}", EntityKind.CORE), ()):
            document_of(sample)[name] = sample.value
    for sample in samples.get(("neuroncore_allocated", EntityKind.CORE), ()):
        document_of(sample)["allocated"] = bool(sample.value)
        _set_owner(document_of(sample), sample.series.owner)
    if EntityKind.CORE_RUNTIME in snapshot.kinds:
        for core in cores.values():
            if "utilization" in core:  # otherwise, the runtimes could not be read
                core["runtimes"] = []
    for each in core_runtimes:
        runtime = {"tag": each.tag, "pid": each.pid}
        cores[each.core].setdefault("runtimes", []).append(runtime)
    return [
        {"core": core, **({"device": core // per_device} if per_device else {}), **cores[core]}
        for core in sorted(cores)
    ]


def _of_cores(samples: Samples, name: str) -> Iterable[_Sample]:
    """Return the values of cores; in AWS's layout these are values per runtime, to be added up."""
    return (
        samples.get((name, EntityKind.CORE)) or samples.get((name, EntityKind.RUNTIME_CORE)) or ()
    )


def _devices(samples: Samples) -> list[Document]:
    devices: dict[int, Document] = defaultdict(dict)
    for name, key in (
        ("neurondevice_memory_used_bytes", "memory_used_bytes"),
        ("neurondevice_memory_utilization_ratio", "memory_utilization"),
    ):
        for sample in samples.get((name, EntityKind.DEVICE), ()):
            device = devices[int(sample.labels["neuron_device_index"])]
            device[key] = sample.value
            _set_owner(device, sample.series.owner)
    for sample in samples.get(("hardware_ecc_events_total", EntityKind.DEVICE), ()):
        device = devices[int(sample.labels["neuron_device_index"])]
        device.setdefault("ecc_events", {})[sample.series.split_value] = (
            sample.value - sample.series.start_value
        )
    return [{"device": device, **devices[device]} for device in sorted(devices)]


def _runtimes(samples: Samples, core_runtimes: Iterable[_CoreRuntime]) -> list[Document]:
    """Return the runtimes; those with equal labels are merged, as in the metrics."""
    runtimes: dict[Labels, Document] = {}
    owners: dict[Labels, Owner] = {}
    for (name, kind), found in samples.items():
        if kind not in (EntityKind.RUNTIME, EntityKind.RUNTIME_TOTALS):
            continue
        for sample in found:
            split_by = sample.series.spec.split_by
            labels = tuple(pair for pair in sample.series.labels if pair[0] != split_by)
            if labels not in runtimes:
                tag = dict(labels).get("runtime_tag", "")
                owners[labels] = sample.series.owner
                runtimes[labels] = _set_owner({"tag": tag}, owners[labels])
            _add_value(runtimes[labels], name, sample)
    by_tag: dict[tuple[str, Owner], list[_CoreRuntime]] = defaultdict(list)
    for each in core_runtimes:
        by_tag[each.tag, each.owner].append(each)
    for labels, runtime in runtimes.items():
        pid = dict(labels).get("pid")
        merged = [
            each
            for each in by_tag[runtime["tag"], owners[labels]]
            if pid is None or pid == str(each.pid)
        ]
        runtime["pids"] = sorted({each.pid for each in merged if each.pid is not None})
        runtime["cores"] = sorted({each.core for each in merged})
        if "executions" in runtime:
            runtime["failed"] = _failed(runtime["executions"])
    return list(runtimes.values())


def _add_value(runtime: Document, name: str, sample: _Sample) -> None:
    by, value = sample.series.split_value, sample.value
    if name in _RUNTIME_SPLITS:
        runtime.setdefault(_RUNTIME_SPLITS[name], {})[by] = value
        if by == _COMPLETED and sample.rate is not None:
            runtime["executions_per_second"] = sample.rate
    elif name == "neuron_execution_gap_seconds":
        runtime["execution_gap_seconds"] = value
        runtime["is_stalled"] = value >= STALLED_SECONDS
    elif name == "neuron_runtime_memory_used_bytes" and by in _LOCATIONS:
        runtime[_LOCATIONS[by]] = value
    elif name == "neuron_runtime_vcpu_usage_ratio":
        runtime["cpu_utilization"] = runtime.get("cpu_utilization", 0.0) + value


def _executions(samples: Samples) -> Document:
    """Return the machine's totals since the exporter started."""
    by_status = samples.get(("neuron_executions_total", EntityKind.MACHINE), ())
    by_error = samples.get(("neuron_execution_errors_total", EntityKind.MACHINE), ())
    executions: Document = {
        key: {sample.series.split_value: sample.value for sample in found}
        for key, found in (("by_status", by_status), ("errors", by_error))
        if found
    }
    if by_status:
        executions["failed"] = _failed(executions["by_status"])
    for sample in by_status:
        if sample.series.split_value == _COMPLETED and sample.rate is not None:
            executions["completed_per_second"] = sample.rate
    return executions


def _failed(by_status: Mapping[str, float]) -> dict[str, float]:
    """Return the failures by status. A status that is not known yet is none."""
    return {status: by_status[status] for status in FAILED_STATUSES if status in by_status}


def _host(samples: Samples) -> Document:
    host: Document = {}
    for (name, _), found in samples.items():
        if name in _HOST:
            host[_HOST[name]] = found[0].value
        elif name == "system_vcpu_usage_ratio":
            host["cpu"] = {sample.series.split_value: sample.value for sample in found}
    return host


def _set_owner(document: Document, owner: Owner) -> Document:
    if labels := owner.labels():
        document["owner"] = dict(labels)
    return document
