"""Owners of runtimes, cores and devices, from all providers together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.metrics.series_cache import OWNER_WAIT
from neuron_exporter.model import NO_OWNER, Allocation, Owner, Owners, Task
from tests.support.reports import (
    HARDWARE,
    Harness,
    Samples,
    cores,
    ecc,
    executions,
    group,
    memory,
    report,
    runtime,
)

RED = Owner(container="red", task_family="train")
BLUE = Owner(container="blue", task_family="infer")
COMPLETED = "execution_status_total"
BUSY = "neuroncore_utilization_ratio"
CORE_RUNTIMES = "neuroncore_runtime_info"


def working(pid: int, tag: str, completed: float = 1, **busy: float) -> dict[str, Any]:
    """Return a runtime that lists all four cores and is busy on some of them."""
    shares = {**dict.fromkeys(("_0", "_1", "_2", "_3"), 0.0), **busy}
    return runtime(
        pid, tag, neuroncore_counters=cores(**shares), execution_stats=executions(completed)
    )


def completed(samples: Samples) -> dict[tuple[str, ...], float]:
    """Return the completed executions of each runtime, by its labels."""
    return {
        labels[:-1]: value
        for labels, value in samples.values(COMPLETED).items()
        if "completed" in labels
    }


def pods(samples: Samples) -> list[str]:
    """Return the pod of each runtime on each of its cores."""
    return [each.owner.pod for each in samples.snapshot.shape if each.spec.name == CORE_RUNTIMES]


# A task's own devices


def test_task_with_all_devices_owns_everything() -> None:
    """A report with no more devices than the task has covers the task alone, whatever the pids."""
    document = report(working(9, "a", 3, _0=50), system_data={"neuron_hw_counters": ecc({}, {})})
    own = Owners(task=Task(RED, frozenset({6, 7})), lookup_enabled=True)
    samples = Harness().samples(document, owners=own)
    assert [*samples.values(BUSY)] == [(str(core), "red", "train") for core in range(4)]
    assert completed(samples) == {("a", "red", "train"): 3}
    assert next(iter(samples.values("neurondevice_ecc_reading")))[:3] == ("0", "red", "train")


def test_task_with_some_devices_owns_their_cores() -> None:
    document = report(working(9, "a", 3, _0=50), working(8, "b", 5, _2=50))
    own = Owners(task=Task(RED, frozenset({1})))
    samples = Harness().samples(document, owners=own)
    assert [*samples.values(BUSY)] == [("0",), ("1",), ("2", "red", "train"), ("3", "red", "train")]
    assert completed(samples) == {("a",): 3, ("b", "red", "train"): 5}


def test_hardware_counts_are_remembered() -> None:
    harness = Harness()
    own = Owners(task=Task(RED, frozenset({0, 1})))
    busy = working(9, "a", _0=50)
    first = harness.samples(report(busy), owners=own)
    then = harness.samples(report(busy, neuron_hardware_info=None), owners=own)
    assert first.values(BUSY).keys() == then.values(BUSY).keys()


# Runtimes without a known owner of the process


def test_runtime_inherits_owner_of_its_cores() -> None:
    """It does so if all its cores have one owner; an owner of the process takes precedence."""
    owners = Owners(by_core={0: RED, 1: RED, 2: BLUE, 3: BLUE}, by_pid={8: RED})
    document = report(
        working(9, "a", _0=50, _1=1), working(8, "b", _2=50), working(7, "c", _1=1, _2=1)
    )
    samples = Harness().samples(document, owners=owners)
    assert completed(samples).keys() == {("a", "red", "train"), ("b", "red", "train"), ("c",)}
    assert {labels[:4] for labels in samples.values(CORE_RUNTIMES)} >= {("0", "a", "9", "red")}


def test_containers_of_one_pod_share_a_core() -> None:
    """What two containers of a pod share has the pod without a container: a device of a claim, a
    logical core of two physical ones, and a runtime on cores of both."""
    pod = Owner(namespace="ml", pod="train")
    one, two = replace(pod, container="one"), replace(pod, container="two")
    shared = allocation({0: one, 1: two, 2: two, 4: one, 8: RED, 9: two}, highest=15)
    document = report(working(9, "a", _1=1, _2=1), neuron_hardware_info=LNC_2)
    harness = Harness()
    samples = harness.samples(document, owners=shared)
    assert {labels[0]: labels[1:] for labels in samples.values(BUSY) if len(labels) > 1} == {
        "0": ("ml", "train"),
        "1": ("ml", "train", "two"),
        "2": ("ml", "train", "one"),
    }
    assert completed(samples) == {("a", "ml", "train"): 1}
    assert harness.samples(document, owners=shared).snapshot.shape is samples.snapshot.shape


def test_idle_runtime_keeps_its_owner() -> None:
    """A runtime keeps its owner until it uses a core that has another or none."""
    harness = Harness()
    owners = Owners(by_core={0: RED, 2: BLUE})
    loaded = runtime(
        9, "a", memory_used=memory({"0": {"tensors": 1}}), execution_stats=executions(1)
    )
    assert completed(harness.samples(report(loaded), owners=owners)) == {("a", "red", "train"): 1}
    idle = report(working(9, "a", 2))
    assert completed(harness.samples(idle, owners=owners)) == {("a", "red", "train"): 3}
    taken = report(working(9, "a", 2, _1=1))
    who_knows = completed(harness.samples(taken, owners=owners))
    assert who_knows == {("a", "red", "train"): 3, ("a",): 2}


def test_process_outlives_its_pod() -> None:
    """It has no owner while other pods have its core, whoever named its pod first, and its own
    again if that was only unknown for a while."""
    old, new = Owner(namespace="ml", pod="old"), Owner(namespace="ml", pod="new")
    labelled = replace(old, pod_labels=(("label_team", "vision"),))
    for first in (Owners(by_core={0: old}), Owners(by_pid={9: old}), Owners(by_core={0: labelled})):
        harness = Harness()
        held = report(working(9, "a", _0=50))
        for _ in range(int(OWNER_WAIT / 5)):
            assert pods(harness.samples(held, owners=first)) == ["old"]
        later = (first, Owners(by_core={0: new}), Owners(), Owners(by_core={0: labelled}))
        found = [pods(harness.samples(held, owners=each)) for each in later]
        assert found == [["old"], [""], [""], ["old"]]


def test_core_that_still_has_its_former_owner() -> None:
    """A new process gets its own pod as soon as the kubelet has given the core to it."""
    former, own = (Owners(by_core={0: Owner(namespace="ml", pod=pod)}) for pod in ("former", "own"))
    harness = Harness()
    held = report(working(9, "a", _0=50))
    found = [pods(harness.samples(held, owners=each)) for each in (former, own, own, own, own)]
    assert found[1:] == [["own"]] * 4


# Waiting for an owner


def looked_up(**known: Any) -> Owners:
    """Return owners while the lookup is enabled."""
    return Owners(**known, lookup_enabled=True)


def test_runtime_waits_for_its_owner() -> None:
    """Its counters appear with their final labels and are complete; the totals do not wait."""
    harness = Harness()
    samples = harness.samples(report(working(9, "a", 2)), owners=looked_up())
    assert completed(samples) == {}
    assert samples.value("neuron_executions_total", "completed") == 2
    samples = harness.samples(report(working(9, "a", 2)), owners=looked_up(by_pid={9: RED}))
    assert completed(samples) == {("a", "red", "train"): 4}


def test_runtime_waits_at_most_15_seconds() -> None:
    harness = Harness()
    shown = [
        completed(harness.samples(report(working(9, "a", 2)), owners=looked_up())) for _ in range(4)
    ]
    assert shown == [{}, {}, {}, {("a",): 8}]  # reports are five seconds apart


def test_runtime_does_not_wait_without_lookup() -> None:
    assert completed(Harness().samples(report(working(9, "a", 2)))) == {("a",): 2}


def test_changing_owner() -> None:
    """No series falls and no execution counts twice if an owner comes late, goes and returns."""
    harness = Harness()
    shown = [
        completed(harness.samples(report(working(9, "a", 2)), owners=owners))
        for owners in (
            Owners(),
            Owners(by_pid={9: RED}),
            Owners(),
            Owners(by_pid={9: RED}),
            Owners(by_pid={9: replace(RED, service="late")}),
        )
    ]
    unowned, red, late = ("a",), ("a", "red", "train"), ("a", "red", "train", "late")
    assert shown == [
        {unowned: 2},
        {unowned: 2, red: 2},
        {unowned: 4, red: 2},
        {unowned: 4, red: 4},
        {unowned: 4, red: 4, late: 2},
    ]


def test_owners_of_runtimes_with_one_tag_become_known() -> None:
    """Their common series keeps its value, and each continues under its own labels."""
    harness = Harness()
    both = report(working(1, "a", 5), working(2, "a", 7))
    assert completed(harness.samples(both)) == {("a",): 12}
    known = Owners(by_pid={1: RED, 2: BLUE})
    assert completed(harness.samples(both, owners=known)) == {
        ("a",): 12,
        ("a", "red", "train"): 5,
        ("a", "blue", "infer"): 7,
    }


def test_reused_pid_does_not_keep_owner() -> None:
    harness = Harness()
    owners = Owners(by_core={0: RED})
    harness.samples(report(working(9, "a", 2, _0=50)), owners=owners)
    harness.samples(report(), owners=owners)
    idle = harness.samples(report(working(9, "a", 1)), owners=owners)
    assert completed(idle) == {("a", "red", "train"): 2, ("a",): 1}


def test_runtime_that_exits_while_it_waits_is_shown() -> None:
    harness = Harness()
    harness.samples(report(working(9, "a", 2)), owners=looked_up())
    assert completed(harness.samples(report(), owners=looked_up())) == {("a",): 2}


def test_device_counters_have_no_owner_labels() -> None:
    """They continue in one series when the device changes owner; gauges have its labels."""
    harness = Harness()
    ecc_labels = set()
    for reading, owner in ((3, NO_OWNER), (5, RED), (9, BLUE)):
        document = report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": reading})})
        samples = harness.samples(document, owners=Owners(by_device={0: owner}))
        events = samples.values("hardware_ecc_events_total")
        assert events["0", "mem_ecc_corrected"] == reading
        ecc_labels |= set(events)
        shown = {labels[1:-1] for labels in samples.values("neurondevice_ecc_reading")}
        assert shown == {tuple(value for _, value in owner.labels())}
    assert len(ecc_labels) == 4


def test_cores_do_not_wait_for_owner() -> None:
    samples = Harness().samples(report(working(9, "a", _0=50)), owners=looked_up())
    assert samples.values(BUSY)["0",] == 0.5


# Allocation by a scheduler


LNC_2 = {**HARDWARE, "neuron_device_count": 2, "neuroncore_per_device_count": 4}
LNC_2 |= {"logical_neuroncore_config": 2}
"""Two devices of eight physical cores, which are shown as four logical ones."""


def allocation(
    cores: dict[int, Owner] | None = None,
    devices: dict[int, Owner] | None = None,
    highest: int | None = None,
) -> Owners:
    """Return an allocation by the kubelet."""
    return Owners(allocation=Allocation(cores or {}, devices or {}, highest))


def allocated(owners: Owners, **hardware: Any) -> str:
    """Return a digit for each core, 1 if it is allocated; empty if that is unknown."""
    document = report(neuron_hardware_info=hardware or HARDWARE)
    samples = Harness().samples(document, owners=owners).values("neuroncore_allocated")
    return "".join(str(int(value)) for value in samples.values())


def containers(owners: Owners, **hardware: Any) -> dict[str, str]:
    """Return the container of each core that has one."""
    document = report(neuron_hardware_info=hardware or HARDWARE)
    samples = Harness().samples(document, owners=owners).values(BUSY)
    return {labels[0]: labels[1] for labels in samples if len(labels) > 1}


def test_allocated_cores_include_idle_ones() -> None:
    owners = allocation({0: RED}, {1: BLUE})
    assert allocated(owners) == "1011"
    assert containers(owners) == {"0": "red", "2": "blue", "3": "blue"}


def test_unknown_allocation_is_absent() -> None:
    assert allocated(Owners()) == ""
    assert allocated(Owners(by_core={0: RED})) == ""


def test_empty_allocation_means_all_cores_are_free() -> None:
    assert allocated(allocation()) == "0000"


@pytest.mark.parametrize(
    ("owners", "cores", "owner_by_core"),
    [
        pytest.param(
            allocation({14: RED, 15: RED}), "00000001", {"7": "red"}, id="numbers of physical cores"
        ),
        pytest.param(
            allocation({0: RED, 1: RED}, highest=15),
            "10000000",
            {"0": "red"},
            id="the first of sixteen",
        ),
        pytest.param(
            allocation({0: RED, 1: BLUE}, highest=15), "10000000", {}, id="two on one logical core"
        ),
        pytest.param(
            allocation({0: RED, 1: BLUE}, highest=7),
            "11000000",
            {"0": "red", "1": "blue"},
            id="logical",
        ),
        pytest.param(allocation({0: RED, 1: BLUE}), "", {}, id="could be either"),
        pytest.param(
            allocation({0: RED}, {0: BLUE}, 15),
            "11110000",
            dict.fromkeys("123", "blue"),
            id="conflict",
        ),
        pytest.param(
            Owners(allocation=Allocation({14: RED}, {}, is_complete=False)),
            "",
            {"7": "red"},
            id="not all was understood",
        ),
        pytest.param(
            allocation(devices={1: RED}),
            "00001111",
            dict.fromkeys("4567", "red"),
            id="whole devices",
        ),
    ],
)
def test_logical_and_physical_core_numbers(
    owners: Owners, cores: str, owner_by_core: dict[str, str]
) -> None:
    """An ambiguous number names no owner."""
    assert allocated(owners, **LNC_2) == cores
    assert containers(owners, **LNC_2) == owner_by_core


def test_core_numbers_are_ignored_until_core_size_is_known() -> None:
    harness = Harness()
    owners = allocation({2: RED, 3: RED}, highest=15)
    unknown = report(working(9, "a", _2=50), neuron_hardware_info=None)
    assert {len(labels) for labels in harness.samples(unknown, owners=owners).values(BUSY)} == {1}
    known = report(working(9, "a", _2=50), neuron_hardware_info=LNC_2)
    assert ("1", "red", "train") in harness.samples(known, owners=owners).values(BUSY)


def test_empty_allocation_overrides_stream() -> None:
    pod = {"pod_name": "old", "namespace": "ml", "container_name": ["c"]}
    info = group(period=15.0, neuroncores_k8s_info={"0": pod}, neurondevices_k8s_info={})
    samples = Harness().samples(
        report(working(9, "a", _0=1), neuron_k8s_info=info), owners=allocation()
    )
    assert ("0",) in samples.values(BUSY)


def test_task_with_the_last_devices_owns_them() -> None:
    devices = [{"neuron_device_index": index, "mem_ecc_corrected": 0} for index in (4, 5)]
    document = report(system_data={"neuron_hw_counters": group(neuron_devices=devices)})
    own = Owners(task=Task(RED, frozenset({4, 5})), lookup_enabled=True)
    samples = Harness().samples(document, owners=own)
    assert {*samples.values(BUSY)} == {(str(core), "red", "train") for core in range(8, 12)}
    assert {labels[:3] for labels in samples.values("neurondevice_ecc_reading")} == {
        ("4", "red", "train"),
        ("5", "red", "train"),
    }


def test_core_numbers_stay_logical_when_a_device_is_lost() -> None:
    """With devices 0 and 2, core 5 exists, so that it is not a physical one."""
    devices = [{"neuron_device_index": index, "mem_ecc_corrected": 0} for index in (0, 2)]
    document = report(
        neuron_hardware_info={**HARDWARE, "logical_neuroncore_config": 2},
        system_data={"neuron_hw_counters": group(neuron_devices=devices)},
    )
    own = Owners(allocation=Allocation({5: RED}, {}, highest_core=5))
    samples = Harness().samples(document, owners=own)
    assert ("5", "red", "train") in samples.values(BUSY)


def test_new_process_does_not_inherit_the_owner_of_an_exited_one() -> None:
    harness = Harness()
    own = Owners(by_core={0: RED})
    assert completed(harness.samples(report(working(9, "a", 3, _0=50)), owners=own)) == {
        ("a", "red", "train"): 3
    }
    harness.collect(report(), owners=own)
    again = completed(harness.samples(report(working(9, "a", 5)), owners=own))
    assert again[("a",)] == 5
