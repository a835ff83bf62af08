"""Values of cores, runtimes and devices: idle is zero, unread is absent."""

from __future__ import annotations

import pytest

from neuron_exporter.model import Machine, Owner, Owners
from tests.support.reports import (
    HARDWARE,
    Harness,
    cores,
    group,
    memory,
    report,
    runtime,
)

UTILIZATION = "neuroncore_utilization_ratio"
TENSORS = "neuroncore_memory_usage_tensors"


def utilization(**sections: object) -> dict[str, float]:
    """Return the utilization of each core in a report with these sections."""
    return {
        core: value
        for (core,), value in Harness().samples(report(**sections)).values(UTILIZATION).items()
    }


def test_utilization_is_summed_over_runtimes() -> None:
    one = runtime(1, "a", neuroncore_counters=cores(_0=30, _1=0, _2=0, _3=0))
    two = runtime(2, "b", neuroncore_counters=cores(_0=45, _1=10, _2=0, _3=0))
    assert utilization(neuron_runtime_data=[one, two]) == {"0": 0.75, "1": 0.1, "2": 0, "3": 0}


def test_utilization_is_capped_at_one() -> None:
    both = [runtime(pid, str(pid), neuroncore_counters=cores(_0=70)) for pid in (1, 2)]
    assert utilization(neuron_runtime_data=both)["0"] == 1


def test_average_over_cores_is_utilization_of_machine() -> None:
    workers = [
        runtime(
            core,
            str(core),
            neuroncore_counters=cores(**{f"_{c}": 100 * (c == core) for c in range(4)}),
        )
        for core in range(2)
    ]
    read = utilization(neuron_runtime_data=workers)
    assert sum(read.values()) / len(read) == 0.5


@pytest.mark.parametrize("data", [[], None])
def test_cores_of_idle_machine_are_zero(data: object) -> None:
    samples = Harness().samples(report(neuron_runtime_data=data))
    assert samples.values(UTILIZATION) == {(str(core),): 0 for core in range(4)}
    assert samples.value("neuroncores_in_use") == 0
    assert set(samples.values(TENSORS).values()) == {0}


UNREADABLE = [
    runtime(2, "b"),
    runtime(2, "b", neuroncore_counters=None, memory_used=None),
    runtime(2, "b", neuroncore_counters=group("broken", neuroncores_in_use={"0": {}})),
    runtime(2, "b", neuroncore_counters=group(neuroncores_in_use=None)),
    runtime(2, "b", error="gone", neuroncore_counters=cores(_0=0)),
    {**runtime(2, "b"), "report": None},
    None,
]


@pytest.mark.parametrize("broken", UNREADABLE)
def test_unreadable_runtime(broken: object) -> None:
    """A core is not idle while an unreadable runtime may use it, even if others list it at 0."""
    good = runtime(
        1,
        "a",
        neuroncore_counters=cores(_0=30, _1=0),
        memory_used=memory({"0": {"tensors": 5}, "1": {}}),
    )
    samples = Harness().samples({**report(), "neuron_runtime_data": [good, broken]})
    assert samples.values(UTILIZATION) == {("0",): 0.3}
    assert samples.values(TENSORS) == {("0", "None"): 5}
    assert samples.value("neuroncores_in_use") is None
    assert samples.values("neurondevice_memory_used_bytes") == {}


def test_missing_reading_affects_only_its_core() -> None:
    counters = group(neuroncores_in_use={"0": {"neuroncore_utilization": None}, "1": None})
    assert utilization(neuron_runtime_data=[runtime(neuroncore_counters=counters)]) == {
        "2": 0,
        "3": 0,
    }


def test_report_without_runtime_section_makes_no_zeros() -> None:
    document = report()
    del document["neuron_runtime_data"]
    samples = Harness().samples(document)
    assert samples.values(UTILIZATION) == {}
    assert samples.value("neuroncores_in_use") is None


@pytest.mark.parametrize("hardware", [None, {"error": "no driver"}, {"neuron_device_count": 2}])
def test_only_listed_cores_are_shown_without_core_count(hardware: object) -> None:
    busy = runtime(neuroncore_counters=cores(_0=50, _1=0))
    assert utilization(neuron_runtime_data=[busy], neuron_hardware_info=hardware) == {
        "0": 0.5,
        "1": 0,
    }
    assert utilization(neuron_runtime_data=[], neuron_hardware_info=hardware) == {}


def test_cores_in_use() -> None:
    """Busy cores count once each, and memory alone does not make a core busy."""
    both = [
        runtime(
            pid,
            str(pid),
            neuroncore_counters=cores(_0=20, _1=0),
            memory_used=memory({"1": {"tensors": 9}}),
        )
        for pid in (1, 2)
    ]
    assert Harness().samples(report(*both)).value("neuroncores_in_use") == 1


def test_memory_is_summed_by_category() -> None:
    one = runtime(1, "a", memory_used=memory({"0": {"tensors": 10, "constants": 1}}))
    two = runtime(2, "b", memory_used=memory({"0": {"tensors": 5}, "3": {"model_code": 7}}))
    samples = Harness().samples(report(one, two))
    assert samples.values(TENSORS) == {
        ("0", "None"): 15,
        ("1", "None"): 0,
        ("2", "None"): 0,
        ("3", "None"): 0,
    }
    assert samples.value("neuroncore_memory_usage_constants", "0", "None") == 1
    assert samples.value("neuroncore_memory_usage_model_code", "3", "None") == 7


def test_missing_category_is_absent_on_its_core_only() -> None:
    used = memory({"0": {"tensors": 4}})
    breakdown = used["neuron_runtime_used_bytes"]["usage_breakdown"]["neuroncore_memory_usage"]
    breakdown["0"]["constants"] = None
    samples = Harness().samples(report(runtime(memory_used=used)))
    assert samples.value("neuroncore_memory_usage_constants", "0", "None") is None
    assert samples.value("neuroncore_memory_usage_constants", "1", "None") == 0
    assert samples.value(TENSORS, "0", "None") == 4


def flops(**rates: float | None) -> dict[str, object]:
    """Return `neuroncore_counters` of busy cores with these rates."""
    return group(
        neuroncores_in_use={
            name.strip("_"): {"neuroncore_utilization": 50, "effective_flops": rate}
            for name, rate in rates.items()
        }
    )


def test_flops() -> None:
    """Rates are summed, and idle cores show 0 once the source has reported a rate."""
    harness = Harness()
    assert harness.samples(report()).values("neuroncore_effective_flops") == {}
    samples = harness.samples(report(runtime(1, "a", neuroncore_counters=flops(_0=5e9))))
    assert samples.values("neuroncore_effective_flops") == {
        ("0",): 5e9,
        ("1",): 0,
        ("2",): 0,
        ("3",): 0,
    }
    assert set(harness.samples(report()).values("neuroncore_effective_flops").values()) == {0}


def test_unreported_flops_are_absent() -> None:
    busy = runtime(neuroncore_counters=cores(_0=50, _1=0))
    assert Harness().samples(report(busy)).values("neuroncore_effective_flops") == {}


@pytest.mark.parametrize(
    ("size", "instance_type", "expected"),
    [
        (1000, "", 0.25),
        (1000, "inf1.xlarge", 0.25),
        (None, "inf1.xlarge", 250 / (8 * 2**30)),
        (None, "m5.large", None),
        (None, "", None),
        (0, "", None),
    ],
)
def test_device_memory_utilization(
    size: int | None, instance_type: str, expected: float | None
) -> None:
    """The size comes from the report, else from the instance type, else the ratio is absent."""
    used = runtime(memory_used=memory({"2": {"tensors": 200}, "3": {"constants": 50}}))
    hardware = {**HARDWARE, "neuron_device_memory_size": size}
    document = report(used, neuron_hardware_info=hardware)
    samples = Harness().samples(document, machine=Machine(instance_type=instance_type))
    assert samples.values("neurondevice_memory_used_bytes") == {("0",): 0, ("1",): 250}
    assert samples.value("neurondevice_memory_utilization_ratio", "1") == expected


@pytest.mark.parametrize("key", ["1", "x1", "-1", "99999"])
def test_damaged_core_is_not_idle(key: str) -> None:
    used = memory({"0": {"tensors": 40}})
    by_core = used["neuron_runtime_used_bytes"]["usage_breakdown"]["neuroncore_memory_usage"]
    by_core[key] = "broken"
    counters = cores(_0=50)
    counters["neuroncores_in_use"][key] = "broken"
    samples = Harness().samples(report(runtime(neuroncore_counters=counters, memory_used=used)))
    assert ("1",) not in samples.values(UTILIZATION)
    assert samples.value(UTILIZATION, "0") == 0.5
    assert ("1", "None") not in samples.values(TENSORS)
    assert samples.value("neuroncores_in_use") is None
    assert samples.value("neurondevice_memory_used_bytes", "0") is None


@pytest.mark.parametrize("unread", [{"tensors": None}, None])
def test_device_memory_is_absent_if_one_runtime_is_unread(unread: object) -> None:
    known, other = (
        runtime(pid, str(pid), memory_used=memory({"0": {"tensors": 80}, "1": {}}))
        for pid in (1, 2)
    )
    used = other["report"]["memory_used"]["neuron_runtime_used_bytes"]
    by_core = used["usage_breakdown"]["neuroncore_memory_usage"]
    by_core["0"] = {**by_core["0"], **unread} if isinstance(unread, dict) else unread
    samples = Harness().samples(report(known, other))
    assert samples.value("neurondevice_memory_used_bytes", "0") is None
    assert samples.value("neurondevice_memory_used_bytes", "1") == 0


def test_device_memory_is_absent_if_one_core_is_unread() -> None:
    used = memory({"0": {"tensors": 5}, "2": {"tensors": 7}, "3": {}})
    by_core = used["neuron_runtime_used_bytes"]["usage_breakdown"]["neuroncore_memory_usage"]
    by_core["0"]["constants"] = None
    samples = Harness().samples(report(runtime(memory_used=used)))
    assert samples.values("neurondevice_memory_used_bytes") == {("1",): 7}


def test_runtimes_of_a_core() -> None:
    """A runtime uses a core where it was busy or has memory, and nowhere else."""
    one = runtime(
        7,
        "a",
        neuroncore_counters=cores(_0=1, _1=0, _2=0),
        memory_used=memory({"1": {"tensors": 1}, "2": {}}),
    )
    samples = Harness().samples(report(one))
    assert set(samples.values("neuroncore_runtime_info")) == {("0", "a", "7"), ("1", "a", "7")}


def test_owners_are_labels_of_cores_and_runtimes() -> None:
    pod = Owner(namespace="ml", pod="infer-0")
    busy = runtime(7, "a", neuroncore_counters=cores(_0=10))
    samples = Harness().samples(report(busy), owners=Owners({0: pod}, {7: pod}))
    assert samples.value(UTILIZATION, "0", "ml", "infer-0") == 0.1
    assert samples.value(UTILIZATION, "1") == 0
    assert ("0", "a", "7", "ml", "infer-0") in samples.values("neuroncore_runtime_info")
