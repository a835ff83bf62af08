"""A snapshot as the page's document tells it: by core, device and runtime, not by series.

What the selections of the sinks leave out is not there, and neither is what has no value now.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from neuron_exporter.model import Labels, Owner, Place, Series, Snapshot, Value

Document = dict[str, Any]

_CORE_MEMORY = "neuroncore_memory_usage_"
_COMPLETED = "completed"
_LOCATIONS = {"neuron_device": "device_memory_bytes", "host": "host_memory_bytes"}
_COUNTS = {
    "neuron_device_count": "devices",
    "neuroncore_per_device_count": "cores_per_device",
    "neuron_device_memory_size": "memory_per_device_bytes",
    "logical_neuroncore_config": "physical_cores_per_core",
}
_KINDS = {
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
    """A series with its value, and its rise a second where two snapshots tell."""

    series: Series
    value: Any
    rate: float | None = None

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.series.labels)


Samples = Mapping[tuple[str, Place], list[_Sample]]


def reading(snapshot: Snapshot, before: Snapshot | None) -> Document:
    """The hardware as of this snapshot; rates are since the one `before`."""
    samples = _by_metric(snapshot, before)
    hardware = _hardware(samples)
    holders = list(_holders(samples))
    return {
        "hardware": hardware,
        "cores": _cores(samples, holders, hardware.get("cores_per_device", 0)),
        "devices": _devices(samples),
        "runtimes": _runtimes(samples, holders),
        "executions": _executions(samples),
        "host": _host(samples),
    }


def _by_metric(snapshot: Snapshot, before: Snapshot | None) -> Samples:
    """What has a value, by metric and place: a name may stand for two places in two layouts."""
    earlier = _Earlier(snapshot, before)
    found: dict[tuple[str, Place], list[_Sample]] = defaultdict(list)
    for index, (series, value) in enumerate(zip(snapshot.shape, snapshot.values, strict=True)):
        if value is not None:
            spec = series.spec
            rate = earlier.rate(index, series, value) if spec.name in _RATED else None
            found[spec.name, spec.place].append(_Sample(series, value, rate))
    return found


_RATED = ("execution_status_total", "neuron_executions_total")


class _Earlier:
    """The snapshot before, to tell how fast counters rise."""

    def __init__(self, snapshot: Snapshot, before: Snapshot | None) -> None:
        self._seconds = 0.0
        self._values: Mapping[Series, Value] | tuple[Value, ...] = ()
        if before is None:
            return
        self._seconds = snapshot.taken_at.monotonic - before.taken_at.monotonic
        self._values = (
            before.values
            if before.shape is snapshot.shape
            else {
                series: value
                for series, value in zip(before.shape, before.values, strict=True)
                if series.spec.name in _RATED
            }
        )

    def rate(self, index: int, series: Series, value: Any) -> float | None:
        """The rise of a counter a second; None where it is not known."""
        if self._seconds <= 0:
            return None
        was: Any
        if isinstance(self._values, tuple):
            was = self._values[index] if self._values else None
        else:
            was = self._values.get(series, series.start)
        return None if was is None else max(0.0, value - was) / self._seconds


def _hardware(samples: Samples) -> Document:
    """What the machine has; with labels that a reading does not have left out."""
    told: dict[str, str] = {}
    for (_, place), found in samples.items():
        if place in (Place.HARDWARE, Place.HARDWARE_COUNTS):
            told |= found[0].labels
    counts = {key: int(told[name]) for name, key in _COUNTS.items() if told.get(name, "").isdigit()}
    return {**counts, **{key: told[name] for name, key in _KINDS.items() if told.get(name)}}


class _Holder(NamedTuple):
    core: int
    tag: str
    pid: int | None
    owner: Owner


def _holders(samples: Samples) -> Iterator[_Holder]:
    for sample in samples.get(("neuroncore_runtime_info", Place.HOLDER), ()):
        labels, pid = sample.labels, sample.labels.get("pid")
        yield _Holder(
            int(labels["neuroncore"]),
            labels.get("runtime_tag", ""),
            None if pid is None else int(pid),
            sample.series.owner,
        )


def _cores(samples: Samples, holders: Iterable[_Holder], per_device: int) -> list[Document]:
    """Every core that has a reading, in order."""
    cores: dict[int, Document] = defaultdict(dict)

    def of(sample: _Sample) -> Document:
        return cores[int(sample.labels["neuroncore"])]

    for sample in _of_cores(samples, "neuroncore_utilization_ratio"):
        core = of(sample)
        core["utilization"] = min(1.0, core.get("utilization", 0.0) + sample.value)
        if sample.series.spec.place is Place.CORE:
            _own(core, sample.series.owner)
    for name in dict.fromkeys(name for name, _ in samples if name.startswith(_CORE_MEMORY)):
        category = name.removeprefix(_CORE_MEMORY)
        for sample in _of_cores(samples, name):
            memory = of(sample).setdefault("memory_bytes", {})
            memory[category] = memory.get(category, 0) + sample.value
    for sample in samples.get(("neuroncore_physical_utilization_ratio", Place.PHYSICAL_CORE), ()):
        physical = of(sample).setdefault("physical_utilization", {})
        physical[sample.labels["physical_neuroncore"]] = sample.value
    for name in ("flops", "effective_flops"):
        for sample in samples.get((f"neuroncore_{name}", Place.CORE), ()):
            of(sample)[name] = sample.value
    for sample in samples.get(("neuroncore_allocated", Place.CORE), ()):
        of(sample)["allocated"] = bool(sample.value)
        _own(of(sample), sample.series.owner)
    for holder in holders:
        held = cores[holder.core].setdefault("runtimes", [])
        held.append({"tag": holder.tag, "pid": holder.pid})
    return [
        {"core": core, **({"device": core // per_device} if per_device else {}), **cores[core]}
        for core in sorted(cores)
    ]


def _of_cores(samples: Samples, name: str) -> Iterable[_Sample]:
    """The readings of cores; in AWS's layout there are only those of each runtime, to be added."""
    return samples.get((name, Place.CORE)) or samples.get((name, Place.RUNTIME_CORE)) or ()


def _devices(samples: Samples) -> list[Document]:
    devices: dict[int, Document] = defaultdict(dict)
    for name, key in (
        ("neurondevice_memory_used_bytes", "memory_used_bytes"),
        ("neurondevice_memory_utilization_ratio", "memory_utilization"),
    ):
        for sample in samples.get((name, Place.DEVICE), ()):
            device = devices[int(sample.labels["neuron_device_index"])]
            device[key] = sample.value
            _own(device, sample.series.owner)
    for sample in samples.get(("hardware_ecc_events_total", Place.DEVICE), ()):
        device = devices[int(sample.labels["neuron_device_index"])]
        device.setdefault("ecc_events", {})[sample.series.by] = sample.value - sample.series.start
    return [{"device": device, **devices[device]} for device in sorted(devices)]


def _runtimes(samples: Samples, holders: Iterable[_Holder]) -> list[Document]:
    """Runtimes, those with equal labels as one: that is how the metrics tell them."""
    runtimes: dict[Labels, Document] = {}
    for (name, place), found in samples.items():
        if place is Place.RUNTIME:
            for sample in found:
                labels = tuple(pair for pair in sample.series.labels if pair[0] != _by(sample))
                runtime = runtimes.setdefault(labels, _runtime(labels, sample.series.owner))
                _tell(runtime, name, sample)
    held: dict[tuple[str, Owner], list[_Holder]] = defaultdict(list)
    for holder in holders:
        held[holder.tag, holder.owner].append(holder)
    for labels, runtime in runtimes.items():
        own = dict(labels)
        mine = [
            each
            for each in held[runtime["tag"], runtime.pop("of")]
            if own.get("pid") in (None, str(each.pid))
        ]
        runtime["pids"] = sorted({each.pid for each in mine if each.pid is not None})
        runtime["cores"] = sorted({each.core for each in mine})
    return list(runtimes.values())


def _by(sample: _Sample) -> str:
    return sample.series.spec.by


def _runtime(labels: Labels, owner: Owner) -> Document:
    return _own({"tag": dict(labels).get("runtime_tag", ""), "of": owner}, owner)


def _tell(runtime: Document, name: str, sample: _Sample) -> None:
    by, value = sample.series.by, sample.value
    match name:
        case "execution_status_total":
            runtime.setdefault("executions", {})[by] = value
            if by == _COMPLETED and sample.rate is not None:
                runtime["executions_per_second"] = sample.rate
        case "execution_errors_total":
            runtime.setdefault("errors", {})[by] = value
        case "execution_latency_seconds":
            runtime.setdefault("latency_seconds", {})[by] = value
        case "execution_device_latency_seconds":
            runtime.setdefault("device_latency_seconds", {})[by] = value
        case "neuron_runtime_memory_used_bytes" if by in _LOCATIONS:
            runtime[_LOCATIONS[by]] = value
        case "neuron_runtime_vcpu_usage_ratio":
            runtime["cpu_utilization"] = runtime.get("cpu_utilization", 0.0) + value


def _executions(samples: Samples) -> Document:
    """The machine's totals since the exporter's start."""
    by_status = samples.get(("neuron_executions_total", Place.MACHINE), ())
    by_error = samples.get(("neuron_execution_errors_total", Place.MACHINE), ())
    told: Document = {}
    if by_status:
        told["by_status"] = {sample.series.by: sample.value for sample in by_status}
    if by_error:
        told["errors"] = {sample.series.by: sample.value for sample in by_error}
    for sample in by_status:
        if sample.series.by == _COMPLETED and sample.rate is not None:
            told["completed_per_second"] = sample.rate
    return told


def _host(samples: Samples) -> Document:
    told: Document = {}
    for (name, _), found in samples.items():
        if name in _HOST:
            told[_HOST[name]] = found[0].value
        elif name == "system_vcpu_usage_ratio":
            told["cpu"] = {sample.series.by: sample.value for sample in found}
    return told


def _own(document: Document, owner: Owner) -> Document:
    if labels := owner.labels():
        document["owner"] = dict(labels)
    return document
