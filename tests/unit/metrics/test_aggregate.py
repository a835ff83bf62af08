"""Per core, once; idle is zero, dead is absent."""

from __future__ import annotations

import pytest

from neuron_exporter.model import Machine, Owner, Owners
from tests.support.reports import (
    HARDWARE,
    Bench,
    cores,
    group,
    memory,
    report,
    runtime,
)

UTILIZATION = "neuroncore_utilization_ratio"
TENSORS = "neuroncore_memory_usage_tensors"


def shares(**sections: object) -> dict[str, float]:
    """The utilization of each core in one report with these runtimes."""
    return {
        core: value
        for (core,), value in Bench().samples(report(**sections)).of(UTILIZATION).items()
    }


def test_utilization_is_the_sum_over_runtimes() -> None:
    """A core that two runtimes share shows what both of them use of it."""
    one = runtime(1, "a", neuroncore_counters=cores(_0=30, _1=0, _2=0, _3=0))
    two = runtime(2, "b", neuroncore_counters=cores(_0=45, _1=10, _2=0, _3=0))
    assert shares(neuron_runtime_data=[one, two]) == {"0": 0.75, "1": 0.1, "2": 0, "3": 0}


def test_utilization_is_capped_at_one() -> None:
    """Rounding in several runtimes never makes a core more than fully busy."""
    both = [runtime(pid, str(pid), neuroncore_counters=cores(_0=70)) for pid in (1, 2)]
    assert shares(neuron_runtime_data=both)["0"] == 1


def test_average_over_cores_is_the_utilization_of_the_machine() -> None:
    """avg(neuroncore_utilization_ratio) needs no knowledge of runtimes."""
    workers = [
        runtime(
            core,
            str(core),
            neuroncore_counters=cores(**{f"_{c}": 100 * (c == core) for c in range(4)}),
        )
        for core in range(2)
    ]
    read = shares(neuron_runtime_data=workers)
    assert sum(read.values()) / len(read) == 0.5


@pytest.mark.parametrize("data", [[], None])
def test_cores_of_an_idle_machine_are_zero(data: object) -> None:
    """A machine on which nothing runs shows every core at 0, of use and of memory."""
    samples = Bench().samples(report(neuron_runtime_data=data))
    assert samples.of(UTILIZATION) == {(str(core),): 0 for core in range(4)}
    assert samples.one("neuroncores_in_use") == 0
    assert set(samples.of(TENSORS).values()) == {0}


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
def test_cores_that_nobody_read_are_absent(broken: object) -> None:
    """While one runtime cannot be read, a core on which no other was busy may be busy: it is not
    shown as idle, although others list it at 0, and nothing is said of the machine as a whole."""
    good = runtime(
        1,
        "a",
        neuroncore_counters=cores(_0=30, _1=0),
        memory_used=memory({"0": {"tensors": 5}, "1": {}}),
    )
    samples = Bench().samples({**report(), "neuron_runtime_data": [good, broken]})
    assert samples.of(UTILIZATION) == {("0",): 0.3}
    assert samples.of(TENSORS) == {("0", "None"): 5}
    assert samples.one("neuroncores_in_use") is None
    assert samples.of("neurondevice_memory_used_bytes") == {}


def test_a_reading_that_is_missing_makes_only_its_core_absent() -> None:
    """A core whose reading is null is absent; the others are as they would be."""
    counters = group(neuroncores_in_use={"0": {"neuroncore_utilization": None}, "1": None})
    assert shares(neuron_runtime_data=[runtime(neuroncore_counters=counters)]) == {"2": 0, "3": 0}


def test_runtimes_that_nobody_looked_for_make_no_zeros() -> None:
    """A report without the section says nothing of the cores, not that they are idle."""
    document = report()
    del document["neuron_runtime_data"]
    samples = Bench().samples(document)
    assert samples.of(UTILIZATION) == {}
    assert samples.one("neuroncores_in_use") is None


@pytest.mark.parametrize("hardware", [None, {"error": "no driver"}, {"neuron_device_count": 2}])
def test_without_a_core_count_only_listed_cores_are_shown(hardware: object) -> None:
    """Where the machine's cores are not known, those that runtimes list are shown, no others."""
    busy = runtime(neuroncore_counters=cores(_0=50, _1=0))
    assert shares(neuron_runtime_data=[busy], neuron_hardware_info=hardware) == {"0": 0.5, "1": 0}
    assert shares(neuron_runtime_data=[], neuron_hardware_info=hardware) == {}


def test_cores_in_use_counts_busy_cores_once() -> None:
    """NeuronCoresInUse counts cores, not runtimes, and memory alone is not use."""
    both = [
        runtime(
            pid,
            str(pid),
            neuroncore_counters=cores(_0=20, _1=0),
            memory_used=memory({"1": {"tensors": 9}}),
        )
        for pid in (1, 2)
    ]
    assert Bench().samples(report(*both)).one("neuroncores_in_use") == 1


def test_memory_is_the_sum_by_category() -> None:
    """Device memory on a core adds up over runtimes, each category for itself."""
    one = runtime(1, "a", memory_used=memory({"0": {"tensors": 10, "constants": 1}}))
    two = runtime(2, "b", memory_used=memory({"0": {"tensors": 5}, "3": {"model_code": 7}}))
    samples = Bench().samples(report(one, two))
    assert samples.of(TENSORS) == {
        ("0", "None"): 15,
        ("1", "None"): 0,
        ("2", "None"): 0,
        ("3", "None"): 0,
    }
    assert samples.one("neuroncore_memory_usage_constants", "0", "None") == 1
    assert samples.one("neuroncore_memory_usage_model_code", "3", "None") == 7


def test_one_missing_category_is_absent_alone() -> None:
    """A category that a runtime does not tell is absent on that core, and only there."""
    used = memory({"0": {"tensors": 4}})
    breakdown = used["neuron_runtime_used_bytes"]["usage_breakdown"]["neuroncore_memory_usage"]
    breakdown["0"]["constants"] = None
    samples = Bench().samples(report(runtime(memory_used=used)))
    assert samples.one("neuroncore_memory_usage_constants", "0", "None") is None
    assert samples.one("neuroncore_memory_usage_constants", "1", "None") == 0
    assert samples.one(TENSORS, "0", "None") == 4


def flops(**rates: float | None) -> dict[str, object]:
    """`neuroncore_counters` of cores that are busy, with these rates."""
    return group(
        neuroncores_in_use={
            name.strip("_"): {"neuroncore_utilization": 50, "effective_flops": rate}
            for name, rate in rates.items()
        }
    )


def test_flops_are_shown_where_the_source_tells_them() -> None:
    """Rates add up over runtimes; idle cores show 0 once the source has told a rate."""
    bench = Bench()
    assert bench.samples(report()).of("neuroncore_effective_flops") == {}
    told = bench.samples(report(runtime(1, "a", neuroncore_counters=flops(_0=5e9))))
    assert told.of("neuroncore_effective_flops") == {("0",): 5e9, ("1",): 0, ("2",): 0, ("3",): 0}
    assert set(bench.samples(report()).of("neuroncore_effective_flops").values()) == {0}


def test_flops_of_a_generation_without_them_are_absent() -> None:
    """A busy core of a generation that tells no rate shows none, not 0."""
    busy = runtime(neuroncore_counters=cores(_0=50, _1=0))
    assert Bench().samples(report(busy)).of("neuroncore_effective_flops") == {}


@pytest.mark.parametrize(
    ("size", "instance_type", "wanted"),
    [
        (1000, "", 0.25),
        (1000, "inf1.xlarge", 0.25),
        (None, "inf1.xlarge", 250 / (8 * 2**30)),
        (None, "m5.large", None),
        (None, "", None),
        (0, "", None),
    ],
)
def test_device_memory_is_a_share_where_the_size_is_known(
    size: int | None, instance_type: str, wanted: float | None
) -> None:
    """The size comes from the report, else from the table of instance types, else it is absent."""
    used = runtime(memory_used=memory({"2": {"tensors": 200}, "3": {"constants": 50}}))
    hardware = {**HARDWARE, "neuron_device_memory_size": size}
    document = report(used, neuron_hardware_info=hardware)
    samples = Bench().samples(document, machine=Machine(instance_type=instance_type))
    assert samples.of("neurondevice_memory_used_bytes") == {("0",): 0, ("1",): 250}
    assert samples.one("neurondevice_memory_utilization_ratio", "1") == wanted


@pytest.mark.parametrize("key", ["1", "x1", "-1", "99999"])
def test_a_core_that_cannot_be_read_is_not_idle(key: str) -> None:
    """A damaged reading, or a damaged name of a core, makes no core look idle or empty."""
    used = memory({"0": {"tensors": 40}})
    by_core = used["neuron_runtime_used_bytes"]["usage_breakdown"]["neuroncore_memory_usage"]
    by_core[key] = "broken"
    counters = cores(_0=50)
    counters["neuroncores_in_use"][key] = "broken"
    samples = Bench().samples(report(runtime(neuroncore_counters=counters, memory_used=used)))
    assert ("1",) not in samples.of(UTILIZATION)
    assert samples.one(UTILIZATION, "0") == 0.5
    assert ("1", "None") not in samples.of(TENSORS)
    assert samples.one("neuroncores_in_use") is None
    assert samples.one("neurondevice_memory_used_bytes", "0") is None


@pytest.mark.parametrize("unread", [{"tensors": None}, None])
def test_a_device_is_not_emptier_than_it_is(unread: object) -> None:
    """What one runtime uses is not known: neither is what is used in all."""
    known, other = (
        runtime(pid, str(pid), memory_used=memory({"0": {"tensors": 80}, "1": {}}))
        for pid in (1, 2)
    )
    used = other["report"]["memory_used"]["neuron_runtime_used_bytes"]
    by_core = used["usage_breakdown"]["neuroncore_memory_usage"]
    by_core["0"] = {**by_core["0"], **unread} if isinstance(unread, dict) else unread
    samples = Bench().samples(report(known, other))
    assert samples.one("neurondevice_memory_used_bytes", "0") is None
    assert samples.one("neurondevice_memory_used_bytes", "1") == 0


def test_a_device_with_an_unread_core_has_no_sum() -> None:
    """A sum with a part missing is not shown; the other device's is."""
    used = memory({"0": {"tensors": 5}, "2": {"tensors": 7}, "3": {}})
    by_core = used["neuron_runtime_used_bytes"]["usage_breakdown"]["neuroncore_memory_usage"]
    by_core["0"]["constants"] = None
    samples = Bench().samples(report(runtime(memory_used=used)))
    assert samples.of("neurondevice_memory_used_bytes") == {("1",): 7}


def test_who_holds_a_core() -> None:
    """A runtime holds a core where it was busy or has memory, and nowhere else."""
    one = runtime(
        7,
        "a",
        neuroncore_counters=cores(_0=1, _1=0, _2=0),
        memory_used=memory({"1": {"tensors": 1}, "2": {}}),
    )
    samples = Bench().samples(report(one))
    assert set(samples.of("neuroncore_runtime_info")) == {("0", "a", "7"), ("1", "a", "7")}


def test_owners_become_labels_of_their_cores_and_runtimes() -> None:
    """What is known of an owner is on its cores and runtimes, and on no others."""
    pod = Owner(namespace="ml", pod="infer-0")
    busy = runtime(7, "a", neuroncore_counters=cores(_0=10))
    samples = Bench().samples(report(busy), owners=Owners({0: pod}, {7: pod}))
    assert samples.one(UTILIZATION, "0", "ml", "infer-0") == 0.1
    assert samples.one(UTILIZATION, "1") == 0
    assert ("0", "a", "7", "ml", "infer-0") in samples.of("neuroncore_runtime_info")
