"""Reports of every generation of neuron-monitor since 2021."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.local import driver_version, tools_version
from neuron_exporter.model import Machine
from tests.support.reports import Harness, cores, ecc, executions, group, memory, report, runtime

UTILIZATION = "neuroncore_utilization_ratio"
PHYSICAL = "neuroncore_physical_utilization_ratio"


def as_inferences(old: dict[str, Any]) -> dict[str, Any]:
    """Rename a group of executions as in SDK 2.3."""
    return {("inference_summary" if k == "execution_summary" else k): v for k, v in old.items()}


# Renamed fields


def test_inference_stats() -> None:
    """Up to SDK 2.3, `execution_stats` is named `inference_stats`."""
    old = as_inferences(executions(7, latency={"p50": 0.5}, errors={"hardware": 1}, timed_out=2))
    samples = Harness().samples(report(runtime(inference_stats=old)))
    assert samples.value("execution_status_total", "app", "completed") == 7
    assert samples.value("neuron_executions_total", "timed_out") == 2
    assert samples.value("execution_errors_total", "app", "hardware") == 1
    assert samples.value("execution_latency_seconds", "app", "p50") == 0.5


def test_both_names() -> None:
    """SDK 2.3 writes both names; the counts are not added twice."""
    both = {"execution_stats": executions(7), "inference_stats": as_inferences(executions(7))}
    samples = Harness().samples(report(runtime(**both)))
    assert samples.value("neuron_executions_total", "completed") == 7


def test_runtime_index() -> None:
    """Before SDK 1.16, runtimes are identified by an index."""
    first, second = (
        {
            "neuron_runtime_index": at,
            "report": {"inference_stats": as_inferences(executions(at + 1)), "error": ""},
        }
        for at in range(2)
    )
    samples = Harness().samples(report(first, second))
    assert samples.value("execution_status_total", "0", "completed") == 1
    assert samples.value("execution_status_total", "1", "completed") == 2


def test_missing_error_fields() -> None:
    """A missing `error` is the same as an empty one."""
    document = report(
        runtime(neuroncore_counters=cores(_0=50), execution_stats=executions(1)),
        system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 1})},
    )

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(item) for name, item in value.items() if name != "error"}
        return [without(item) for item in value] if isinstance(value, list) else value

    shown = {
        name: Harness().samples(each).values(name)
        for name in (UTILIZATION, "neuron_executions_total", "hardware_ecc_events_total")
        for each in [without(document)]
    }
    assert shown == {name: Harness().samples(document).values(name) for name in shown}
    assert all(shown.values())


# Added fields


@pytest.mark.parametrize(
    ("field", "name"),
    [("flops", "neuroncore_flops"), ("effective_flops", "neuroncore_effective_flops")],
)
def test_flops(field: str, name: str) -> None:
    """FLOP/s of runtimes are summed, and idle cores have 0 if any rate is reported."""

    def busy(pid: int, rate: int | None) -> Any:
        used = {"neuroncore_utilization": 50, **({} if rate is None else {field: rate})}
        return runtime(pid, str(pid), neuroncore_counters=group(neuroncores_in_use={"1": used}))

    idle = group(neuroncores_in_use={"0": {"neuroncore_utilization": 0, field: 0}})
    assert len(Harness().samples(report(runtime(neuroncore_counters=idle))).values(name)) == 4
    harness = Harness()
    assert harness.samples(report(busy(1, None))).values(name) == {}
    assert harness.samples(report(busy(1, 10), busy(2, 5))).values(name) == {
        ("0",): 0, ("1",): 15, ("2",): 0, ("3",): 0,
    }  # fmt: skip
    assert harness.samples(report()).values(name) == {(str(core),): 0 for core in range(4)}


def physical(**cores: dict[str, float | None]) -> dict[str, Any]:
    """`neuroncore_counters` of logical cores: physical(_0={"nc_v3.0": 20})."""
    used = {
        name.strip("_"): {
            "neuroncore_utilization": max(share or 0 for share in parts.values()),
            "v3d": {part: {"neuroncore_utilization": share} for part, share in parts.items()},
        }
        for name, parts in cores.items()
    }
    return group(neuroncores_in_use=used)


def test_physical_cores() -> None:
    """Utilization is summed up to 1; unread cores are absent, and idle ones are 0."""
    harness = Harness()
    one = runtime(1, "a", neuroncore_counters=physical(_0={"nc_v3.0": 20, "nc_v3.1": 90}))
    two = runtime(2, "b", neuroncore_counters=physical(_0={"nc_v3.0": 5, "nc_v3.1": 30}))
    assert harness.samples(report(one, two)).values(PHYSICAL) == {("0", "0"): 0.25, ("0", "1"): 1}
    unread = runtime(1, "a", neuroncore_counters=physical(_0={"nc_v3.0": None, "nc_v3.1": 50}))
    assert harness.samples(report(unread)).values(PHYSICAL) == {("0", "1"): 0.5}
    assert harness.samples(report()).values(PHYSICAL) == {("0", "0"): 0, ("0", "1"): 0}


def test_idle_physical_cores() -> None:
    """A core that was idle is 0 while every runtime is read, and its next use is not missed."""
    harness = Harness()
    idle: dict[str, float | None] = {"nc_v3.0": 0, "nc_v3.1": 0.0}
    one = runtime(1, "a", neuroncore_counters=physical(_0=idle))
    zeros = {("0", "0"): 0, ("0", "1"): 0}
    for _ in range(3):
        assert harness.samples(report(one)).values(PHYSICAL) == zeros
    unread = runtime(2, "b", neuroncore_counters=group("not read"))
    assert harness.samples(report(one, unread)).values(PHYSICAL) == {}
    busy = runtime(2, "b", neuroncore_counters=physical(_0={**idle, "nc_v3.1": 40}))
    assert harness.samples(report(one, busy)).values(PHYSICAL) == {**zeros, ("0", "1"): 0.4}
    missing = runtime(2, "b", neuroncore_counters=physical(_0={**idle, "nc_v3.1": None}))
    assert harness.samples(report(one, missing)).values(PHYSICAL) == {("0", "0"): 0}
    assert harness.samples(report(one, one)).values(PHYSICAL) == zeros


@pytest.mark.parametrize(
    ("entry", "of_core_0"),
    [
        (None, {}),
        ({"neuroncore_utilization": 70, "v3d": None}, {}),
        ({"neuroncore_utilization": 70}, {}),
        ({"neuroncore_utilization": 70, "v3d": {}}, {}),
        ({"neuroncore_utilization": 0}, {("0", "0"): 0}),
    ],
    ids=["null", "null-parts", "busy-without-parts", "busy-with-no-parts", "idle-without-parts"],
)
def test_unreadable_physical_cores(entry: object, of_core_0: dict[tuple[str, ...], float]) -> None:
    harness = Harness()
    used = physical(_0={"nc_v3.0": 10}, _1={"nc_v3.1": 20})
    harness.samples(report(runtime(neuroncore_counters=used)))
    used["neuroncores_in_use"]["0"] = entry
    found = harness.samples(report(runtime(neuroncore_counters=used))).values(PHYSICAL)
    assert found == {**of_core_0, ("1", "1"): 0.2}


def test_idle_physical_cores_are_absent_while_a_runtime_is_unread() -> None:
    idle = runtime(1, "a", neuroncore_counters=physical(_0={"nc_v3.0": 0}))
    unread = runtime(2, "b", neuroncore_counters=group("not read"))
    harness = Harness()
    for _ in range(2):
        assert harness.samples(report(idle, unread)).values(PHYSICAL) == {}


def test_physical_cores_of_some_logical_ones() -> None:
    """Idle logical cores may be listed without physical ones."""
    counters = physical(_2={"nc_v3.4": 80, "nc_v3.5": 40})
    counters["neuroncores_in_use"] |= {"0": {"neuroncore_utilization": 0}, "1": None}
    counters["neuroncores_in_use"] = dict(sorted(counters["neuroncores_in_use"].items()))
    found = Harness().samples(report(runtime(neuroncore_counters=counters))).values(PHYSICAL)
    assert found == {("2", "4"): 0.8, ("2", "5"): 0.4}


def test_device_of_a_logical_core() -> None:
    """With LNC 2, a Trainium2 device has four logical cores."""
    hardware = {
        "neuron_device_count": 2,
        "neuroncore_per_device_count": 4,
        "logical_neuroncore_config": 2,
        "neuron_device_memory_size": 100,
        "error": "",
    }
    used = runtime(memory_used=memory({"5": {"tensors": 30}}))
    samples = Harness().samples(report(used, neuron_hardware_info=hardware))
    assert samples.values("neurondevice_memory_utilization_ratio") == {("0",): 0, ("1",): 0.3}


def test_hardware_info() -> None:
    """Fields that a generation does not report are not labels."""
    old = {"neuron_device_count": 1, "neuroncore_per_device_count": 4, "error": ""}
    new = {
        **old,
        "neuron_device_type": "trainium2",
        "neuron_device_version": "v4",
        "neuroncore_version": "v3d",
        "neuron_device_memory_size": 103079215104,
        "logical_neuroncore_config": 2,
        "something_new": 5,
    }
    shown = [Harness().collect(report(neuron_hardware_info=info)).snapshot for info in (old, new)]
    labels = [
        dict(series.labels)
        for snapshot in shown
        for series in snapshot.shape
        if series.spec.name == "neuron_hardware_info"
    ]
    assert labels == [
        {"neuron_device_count": "1", "neuroncore_per_device_count": "4"},
        {
            "neuron_device_count": "1",
            "neuroncore_per_device_count": "4",
            "neuron_device_memory_size": "103079215104",
            "neuron_device_type": "trainium2",
            "neuron_device_version": "v4",
            "neuroncore_version": "v3d",
            "logical_neuroncore_config": "2",
        },
    ]


def test_host_memory_by_category() -> None:
    """Since SDK 2.4, host memory has categories, summed over runtimes with one tag."""
    name = "neuron_runtime_host_memory_used_bytes"

    def used(amount: int | None) -> Any:
        content = memory({"0": {"tensors": 1}}, host=10)
        parts = {"application_memory": 6, "constants": 0, "dma_buffers": amount, "tensors": 1}
        content["neuron_runtime_used_bytes"]["usage_breakdown"]["host"] = parts
        return content

    document = report(runtime(1, "a", memory_used=used(3)), runtime(2, "a", memory_used=used(None)))
    assert Harness().samples(document).values(name) == {
        ("a", "application_memory"): 12, ("a", "constants"): 0,
        ("a", "dma_buffers"): 3, ("a", "tensors"): 2,
    }  # fmt: skip


def test_memory_without_categories() -> None:
    """Before SDK 2.4, only totals of runtimes are known."""
    used = group(neuron_runtime_used_bytes={"host": 5, "neuron_device": 7}, loaded_models=[])
    samples = Harness().samples(report(runtime(memory_used=used)))
    assert samples.value("neuron_runtime_memory_used_bytes", "app", "neuron_device") == 7
    assert samples.values("neuroncore_memory_usage_tensors") == {}
    assert samples.values("neurondevice_memory_used_bytes") == {}
    assert samples.values("neuron_runtime_host_memory_used_bytes") == {}


def test_context_switches() -> None:
    """Context switches are accumulated, those of the first report included."""
    harness = Harness()
    name = "system_context_switches_total"
    assert harness.samples(report()).value(name) is None
    for count, total in ((7, 7), (5, 12), (0, 12)):
        vcpu = group(period=0.01, context_switch_count=count)
        assert harness.samples(report(system_data={"vcpu_usage": vcpu})).value(name) == total
    assert harness.samples(report()).value(name) == 12


def test_cpus() -> None:
    """Each CPU has its shares, except in a first short report."""
    share = {"user": 10, "nice": 5, "system": 2, "io_wait": 1, "irq": 0, "soft_irq": 0, "idle": 82}
    cpus = {"0": share, "1": {**share, "user": None}, "2": None}
    harness = Harness()
    for period, shown in (
        (5.0, {("0", "user"): 0.15, ("0", "system"): 0.03, ("1", "system"): 0.03}),
        (0.1, {}),
    ):
        vcpu = group(period=period, usage_data=cpus)
        samples = harness.samples(report(system_data={"vcpu_usage": vcpu}))
        assert samples.values("system_cpu_usage_ratio") == pytest.approx(shown)
        assert samples.value("system_vcpu_count") == 3


def test_raw_ecc_readings() -> None:
    """ECC readings are also exported unchanged."""
    harness = Harness()
    for reading in (5, 7, 2):
        hardware = {"neuron_hw_counters": ecc({"mem_ecc_corrected": reading})}
        samples = harness.samples(report(system_data=hardware))
        assert samples.value("neurondevice_ecc_reading", "0", "mem_ecc_corrected") == reading


# Versions


def test_driver_version(tmp_path: Path) -> None:
    """The loaded driver states its version."""
    path = tmp_path / "version"
    assert driver_version(path) == ""
    path.write_text("2.24.7.0\n")
    assert driver_version(path) == "2.24.7.0"
    path.write_bytes(b"2.\xff\x00\n")
    assert driver_version(path).isprintable()


def test_tools_version(tmp_path: Path) -> None:
    """The version of the tools is read from Debian's package database."""
    path = tmp_path / "status"
    assert tools_version(path) == ""
    path.write_text(
        "Package: adduser\nStatus: install ok installed\nVersion: 3.134\n\n"
        "Package: aws-neuronx-tools\nStatus: install ok installed\nVersion: 2.29.3.0\n\n"
    )
    assert tools_version(path) == "2.29.3.0"
    path.write_text("Package: aws-neuronx-tools\n\nPackage: zlib\nVersion: 1\n")
    assert tools_version(path) == ""


def test_version_metrics() -> None:
    """Unknown versions have no metric."""
    samples = Harness().samples(report(), machine=Machine(driver_version="2.24", tools_version=""))
    assert samples.values("neuron_driver_info") == {("2.24",): 1}
    assert samples.values("neuron_tools_info") == {}
