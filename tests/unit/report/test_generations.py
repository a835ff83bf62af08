"""Every generation of neuron-monitor since 2021 says the same things, in its own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.software import driver_version, tools_version
from neuron_exporter.model import Machine
from neuron_exporter.report import unknown_fields
from tests import captures
from tests.support.reports import Bench, cores, ecc, executions, group, memory, report, runtime

UTILIZATION = "neuroncore_utilization_ratio"
PHYSICAL = "neuroncore_physical_utilization_ratio"


def named(old: dict[str, Any]) -> dict[str, Any]:
    """A group of executions as it was named to SDK 2.3."""
    return {("inference_summary" if k == "execution_summary" else k): v for k, v in old.items()}


# Names that have changed


def test_executions_were_inferences() -> None:
    """`inference_stats` is the `execution_stats` of SDK 2.3 and before."""
    old = named(executions(7, latency={"p50": 0.5}, errors={"hardware": 1}, timed_out=2))
    samples = Bench().samples(report(runtime(inference_stats=old)))
    assert samples.one("execution_status_total", "app", "completed") == 7
    assert samples.one("neuron_executions_total", "timed_out") == 2
    assert samples.one("execution_errors_total", "app", "hardware") == 1
    assert samples.one("execution_latency_seconds", "app", "p50") == 0.5


def test_both_names_at_once_count_once() -> None:
    """SDK 2.3 had an alias: the same tallies are not added twice."""
    both = {"execution_stats": executions(7), "inference_stats": named(executions(7))}
    samples = Bench().samples(report(runtime(**both)))
    assert samples.one("neuron_executions_total", "completed") == 7


def test_runtimes_had_an_index() -> None:
    """Before SDK 1.16 a runtime had neither process id nor tag: its index tells it."""
    first, second = (
        {
            "neuron_runtime_index": at,
            "report": {"inference_stats": named(executions(at + 1)), "error": ""},
        }
        for at in range(2)
    )
    samples = Bench().samples(report(first, second))
    assert samples.one("execution_status_total", "0", "completed") == 1
    assert samples.one("execution_status_total", "1", "completed") == 2


def test_errors_may_be_missing_everywhere() -> None:
    """A group, a runtime or a section without `error` is as good as one with an empty error."""
    document = report(
        runtime(neuroncore_counters=cores(_0=50), execution_stats=executions(1)),
        system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 1})},
    )

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(item) for name, item in value.items() if name != "error"}
        return [without(item) for item in value] if isinstance(value, list) else value

    shown = {
        name: Bench().samples(each).of(name)
        for name in (UTILIZATION, "neuron_executions_total", "hardware_ecc_events_total")
        for each in [without(document)]
    }
    assert shown == {name: Bench().samples(document).of(name) for name in shown}
    assert all(shown.values())


# What later ones have


@pytest.mark.parametrize(
    ("field", "name"),
    [("flops", "neuroncore_flops"), ("effective_flops", "neuroncore_effective_flops")],
)
def test_rates_of_cores_are_summed_and_idle_is_zero(field: str, name: str) -> None:
    """Where a generation tells a rate, an idle core's is 0; where it does not, there is none."""

    def busy(pid: int, rate: int | None) -> Any:
        used = {"neuroncore_utilization": 50, **({} if rate is None else {field: rate})}
        return runtime(pid, str(pid), neuroncore_counters=group(neuroncores_in_use={"1": used}))

    idle = group(neuroncores_in_use={"0": {"neuroncore_utilization": 0, field: 0}})
    assert len(Bench().samples(report(runtime(neuroncore_counters=idle))).of(name)) == 4
    bench = Bench()
    assert bench.samples(report(busy(1, None))).of(name) == {}
    assert bench.samples(report(busy(1, 10), busy(2, 5))).of(name) == {
        ("0",): 0, ("1",): 15, ("2",): 0, ("3",): 0,
    }  # fmt: skip
    assert bench.samples(report()).of(name) == {(str(core),): 0 for core in range(4)}


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


def test_physical_cores_stand_under_their_logical_one() -> None:
    """Each is the sum over runtimes, at most 1; unread is absent, and idle is 0."""
    bench = Bench()
    one = runtime(1, "a", neuroncore_counters=physical(_0={"nc_v3.0": 20, "nc_v3.1": 90}))
    two = runtime(2, "b", neuroncore_counters=physical(_0={"nc_v3.0": 5, "nc_v3.1": 30}))
    assert bench.samples(report(one, two)).of(PHYSICAL) == {("0", "0"): 0.25, ("0", "1"): 1}
    unread = runtime(1, "a", neuroncore_counters=physical(_0={"nc_v3.0": None, "nc_v3.1": 50}))
    assert bench.samples(report(unread)).of(PHYSICAL) == {("0", "1"): 0.5}
    assert bench.samples(report()).of(PHYSICAL) == {("0", "0"): 0, ("0", "1"): 0}


def test_a_busy_physical_core_is_found_wherever_it_is() -> None:
    """Idle logical cores may come without their physical ones: the busy ones are read all the
    same."""
    counters = physical(_2={"nc_v3.4": 80, "nc_v3.5": 40})
    counters["neuroncores_in_use"] |= {"0": {"neuroncore_utilization": 0}, "1": None}
    counters["neuroncores_in_use"] = dict(sorted(counters["neuroncores_in_use"].items()))
    found = Bench().samples(report(runtime(neuroncore_counters=counters))).of(PHYSICAL)
    assert found == {("2", "4"): 0.8, ("2", "5"): 0.4}


def test_a_device_is_made_of_logical_cores() -> None:
    """With LNC 2 a Trainium2 device has four logical cores: core 5 is on device 1."""
    hardware = {
        "neuron_device_count": 2,
        "neuroncore_per_device_count": 4,
        "logical_neuroncore_config": 2,
        "neuron_device_memory_size": 100,
        "error": "",
    }
    used = runtime(memory_used=memory({"5": {"tensors": 30}}))
    samples = Bench().samples(report(used, neuron_hardware_info=hardware))
    assert samples.of("neurondevice_memory_utilization_ratio") == {("0",): 0, ("1",): 0.3}


def test_hardware_is_described_by_what_is_known_of_it() -> None:
    """Whatever a generation tells of its devices is a label; what it does not tell is none."""
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
    shown = [Bench().collect(report(neuron_hardware_info=info)).snapshot for info in (old, new)]
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


def test_memory_on_the_host_is_broken_down() -> None:
    """Since SDK 2.4 it is known what the host's memory is used for; runtimes of one tag add up."""
    name = "neuron_runtime_host_memory_used_bytes"

    def used(amount: int | None) -> Any:
        content = memory({"0": {"tensors": 1}}, host=10)
        parts = {"application_memory": 6, "constants": 0, "dma_buffers": amount, "tensors": 1}
        content["neuron_runtime_used_bytes"]["usage_breakdown"]["host"] = parts
        return content

    document = report(runtime(1, "a", memory_used=used(3)), runtime(2, "a", memory_used=used(None)))
    assert Bench().samples(document).of(name) == {
        ("a", "application_memory"): 12, ("a", "constants"): 0,
        ("a", "dma_buffers"): 3, ("a", "tensors"): 2,
    }  # fmt: skip


def test_without_a_breakdown_cores_have_no_memory() -> None:
    """Before SDK 2.4 only the runtime's sums were known: nothing is made up for its cores."""
    used = group(neuron_runtime_used_bytes={"host": 5, "neuron_device": 7}, loaded_models=[])
    samples = Bench().samples(report(runtime(memory_used=used)))
    assert samples.one("neuron_runtime_memory_used_bytes", "app", "neuron_device") == 7
    assert samples.of("neuroncore_memory_usage_tensors") == {}
    assert samples.of("neurondevice_memory_used_bytes") == {}
    assert samples.of("neuron_runtime_host_memory_used_bytes") == {}


def test_context_switches_are_tallies() -> None:
    """The host's context switches of each period are added up, the first short one's, too."""
    bench = Bench()
    name = "system_context_switches_total"
    assert bench.samples(report()).one(name) is None
    for count, total in ((7, 7), (5, 12), (0, 12)):
        vcpu = group(period=0.01, context_switch_count=count)
        assert bench.samples(report(system_data={"vcpu_usage": vcpu})).one(name) == total
    assert bench.samples(report()).one(name) == 12


def test_every_cpu_can_be_had() -> None:
    """Each CPU has its shares of the period; those of a first short report are no readings."""
    share = {"user": 10, "nice": 5, "system": 2, "io_wait": 1, "irq": 0, "soft_irq": 0, "idle": 82}
    cpus = {"0": share, "1": {**share, "user": None}, "2": None}
    bench = Bench()
    for period, shown in (
        (5.0, {("0", "user"): 0.15, ("0", "system"): 0.03, ("1", "system"): 0.03}),
        (0.1, {}),
    ):
        vcpu = group(period=period, usage_data=cpus)
        samples = bench.samples(report(system_data={"vcpu_usage": vcpu}))
        assert samples.of("system_cpu_usage_ratio") == pytest.approx(shown)
        assert samples.one("system_vcpu_count") == 3


def test_raw_ecc_readings_stand_beside_the_counters() -> None:
    """Since nobody knows what ECC readings mean, they are shown as they were read."""
    bench = Bench()
    for reading in (5, 7, 2):
        hardware = {"neuron_hw_counters": ecc({"mem_ecc_corrected": reading})}
        samples = bench.samples(report(system_data=hardware))
        assert samples.one("neurondevice_ecc_reading", "0", "mem_ecc_corrected") == reading


# Versions


def test_the_drivers_version_is_read(tmp_path: Path) -> None:
    """The loaded driver tells its version; without a driver there is none."""
    path = tmp_path / "version"
    assert driver_version(path) == ""
    path.write_text("2.24.7.0\n")
    assert driver_version(path) == "2.24.7.0"
    path.write_bytes(b"2.\xff\x00\n")
    assert driver_version(path).isprintable()


def test_the_tools_version_is_read(tmp_path: Path) -> None:
    """Debian's package database tells the tools' version, and no other package's."""
    path = tmp_path / "status"
    assert tools_version(path) == ""
    path.write_text(
        "Package: adduser\nStatus: install ok installed\nVersion: 3.134\n\n"
        "Package: aws-neuronx-tools\nStatus: install ok installed\nVersion: 2.29.3.0\n\n"
    )
    assert tools_version(path) == "2.29.3.0"
    path.write_text("Package: aws-neuronx-tools\n\nPackage: zlib\nVersion: 1\n")
    assert tools_version(path) == ""


def test_versions_are_shown_where_they_are_known() -> None:
    """Driver and tools are infos of their own: a driver that is updated renames no other series."""
    samples = Bench().samples(report(), machine=Machine(driver_version="2.24", tools_version=""))
    assert samples.of("neuron_driver_info") == {("2.24",): 1}
    assert samples.of("neuron_tools_info") == {}


# News


@pytest.mark.parametrize("path", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_reports_have_nothing_unknown(path: Path) -> None:
    """Every field that a real or documented report has is either used or known to be skipped."""
    for line in captures.lines(path):
        assert unknown_fields(line) == []


def test_news_of_a_new_sdk_is_named_by_its_path() -> None:
    """Unknown groups and fields are found at every depth, each once."""
    used = {"neuroncore_utilization": 5, "temperature": 60}
    counters = group(neuroncores_in_use={"0": used, "1": used}, clock=1)
    document = report(runtime(neuroncore_counters=counters, power={"watts": 9}), weather={})
    assert unknown_fields(json.dumps(document).encode()) == [
        "neuron_runtime_data[].report.neuroncore_counters.clock",
        "neuron_runtime_data[].report.neuroncore_counters.neuroncores_in_use{}.temperature",
        "neuron_runtime_data[].report.power",
        "weather",
    ]
