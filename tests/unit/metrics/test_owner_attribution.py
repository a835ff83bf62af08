"""Whose runtimes, cores and devices are, by all that is told, and when it is shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from neuron_exporter.model import NOBODY, Allocation, Owner, Owners, Task
from tests.support.reports import (
    HARDWARE,
    Bench,
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
HOLDERS = "neuroncore_runtime_info"


def working(pid: int, tag: str, completed: float = 1, **busy: float) -> dict[str, Any]:
    """A runtime that lists all four cores and is busy on some."""
    shares = {**dict.fromkeys(("_0", "_1", "_2", "_3"), 0.0), **busy}
    return runtime(
        pid, tag, neuroncore_counters=cores(**shares), execution_stats=executions(completed)
    )


def completed(samples: Samples) -> dict[tuple[str, ...], float]:
    """The completed executions of each runtime, by its labels."""
    return {
        labels[:-1]: value
        for labels, value in samples.of(COMPLETED).items()
        if "completed" in labels
    }


# A task's own devices


def test_a_task_with_every_device_has_everything() -> None:
    """A report that counts no more devices than the task has is of the task alone: cores, devices,
    and all runtimes, whatever their pids are in other namespaces."""
    document = report(working(9, "a", 3, _0=50), system_data={"neuron_hw_counters": ecc({}, {})})
    own = Owners(task=Task(RED, frozenset({6, 7})), asked=True)
    samples = Bench().samples(document, owners=own)
    assert [*samples.of(BUSY)] == [(str(core), "red", "train") for core in range(4)]
    assert completed(samples) == {("a", "red", "train"): 3}
    assert next(iter(samples.of("neurondevice_ecc_reading")))[:3] == ("0", "red", "train")


def test_a_task_with_some_devices_has_their_cores() -> None:
    """Where the machine has more devices, cores and runtimes elsewhere are not the task's."""
    document = report(working(9, "a", 3, _0=50), working(8, "b", 5, _2=50))
    own = Owners(task=Task(RED, frozenset({1})))
    samples = Bench().samples(document, owners=own)
    assert [*samples.of(BUSY)] == [("0",), ("1",), ("2", "red", "train"), ("3", "red", "train")]
    assert completed(samples) == {("a",): 3, ("b", "red", "train"): 5}


def test_counts_of_the_hardware_outlive_a_report_without_them() -> None:
    """One report without the hardware's section changes no label."""
    bench = Bench()
    own = Owners(task=Task(RED, frozenset({0, 1})))
    busy = working(9, "a", _0=50)
    first = bench.samples(report(busy), owners=own)
    then = bench.samples(report(busy, neuron_hardware_info=None), owners=own)
    assert first.of(BUSY).keys() == then.of(BUSY).keys()


# Runtimes whose process nobody knows


def test_a_runtime_is_its_cores_owners() -> None:
    """Who holds cores of one owner alone is that owner's; a process that is known goes before."""
    owners = Owners(by_core={0: RED, 1: RED, 2: BLUE, 3: BLUE}, by_pid={8: RED})
    document = report(
        working(9, "a", _0=50, _1=1), working(8, "b", _2=50), working(7, "c", _1=1, _2=1)
    )
    samples = Bench().samples(document, owners=owners)
    assert completed(samples).keys() == {("a", "red", "train"), ("b", "red", "train"), ("c",)}
    assert {labels[:4] for labels in samples.of(HOLDERS)} >= {("0", "a", "9", "red")}


def test_a_runtime_that_lets_go_stays_its_owners() -> None:
    """A process does not change hands while it holds nothing; memory is holding, too."""
    bench = Bench()
    owners = Owners(by_core={0: RED, 2: BLUE})
    held = runtime(9, "a", memory_used=memory({"0": {"tensors": 1}}), execution_stats=executions(1))
    assert completed(bench.samples(report(held), owners=owners)) == {("a", "red", "train"): 1}
    idle = report(working(9, "a", 2))
    assert completed(bench.samples(idle, owners=owners)) == {("a", "red", "train"): 3}
    taken = report(working(9, "a", 2, _1=1))
    who_knows = completed(bench.samples(taken, owners=owners))
    assert who_knows == {("a", "red", "train"): 3, ("a",): 2}


# Waiting for an owner


def asked(**known: Any) -> Owners:
    """What is known while somebody is being asked."""
    return Owners(**known, asked=True)


def test_a_counter_waits_for_its_owner() -> None:
    """It does not begin under labels that it does not keep, and loses nothing by it; the machine's
    totals do not wait."""
    bench = Bench()
    samples = bench.samples(report(working(9, "a", 2)), owners=asked())
    assert completed(samples) == {}
    assert samples.one("neuron_executions_total", "completed") == 2
    samples = bench.samples(report(working(9, "a", 2)), owners=asked(by_pid={9: RED}))
    assert completed(samples) == {("a", "red", "train"): 4}


def test_a_counter_waits_fifteen_seconds_at_most() -> None:
    """A process that nobody knows is shown without an owner."""
    bench = Bench()
    shown = [completed(bench.samples(report(working(9, "a", 2)), owners=asked())) for _ in range(4)]
    assert shown == [{}, {}, {}, {("a",): 8}]  # reports are five seconds apart


def test_where_nobody_is_asked_nothing_waits() -> None:
    """Outside of ECS and Kubernetes every runtime is shown at once."""
    assert completed(Bench().samples(report(working(9, "a", 2)))) == {("a",): 2}


def test_what_was_shown_stays_where_it_was() -> None:
    """An owner that comes late, goes, and comes back: no series falls, and nothing is counted
    twice."""
    bench = Bench()
    shown = [
        completed(bench.samples(report(working(9, "a", 2)), owners=owners))
        for owners in (
            Owners(),
            Owners(by_pid={9: RED}),
            Owners(),
            Owners(by_pid={9: RED}),
            Owners(by_pid={9: replace(RED, service="late")}),
        )
    ]
    nobody, red, late = ("a",), ("a", "red", "train"), ("a", "red", "train", "late")
    assert shown == [
        {nobody: 2},
        {nobody: 2, red: 2},
        {nobody: 4, red: 2},
        {nobody: 4, red: 4},
        {nobody: 4, red: 4, late: 2},
    ]


def test_two_with_one_tag_that_become_known_leave_nothing_behind_twice() -> None:
    """Their common series stands still where it was, and each goes on under its own labels."""
    bench = Bench()
    both = report(working(1, "a", 5), working(2, "a", 7))
    assert completed(bench.samples(both)) == {("a",): 12}
    known = Owners(by_pid={1: RED, 2: BLUE})
    assert completed(bench.samples(both, owners=known)) == {
        ("a",): 12,
        ("a", "red", "train"): 5,
        ("a", "blue", "infer"): 7,
    }


def test_a_pid_that_is_given_again_is_another_process() -> None:
    """Whose it was says nothing of the next process with this number and tag."""
    bench = Bench()
    owners = Owners(by_core={0: RED})
    bench.samples(report(working(9, "a", 2, _0=50)), owners=owners)
    bench.samples(report(), owners=owners)
    idle = bench.samples(report(working(9, "a", 1)), owners=owners)
    assert completed(idle) == {("a", "red", "train"): 2, ("a",): 1}


def test_who_ended_while_it_waited_is_shown_all_the_same() -> None:
    """What a short worker did is counted under the labels that are known."""
    bench = Bench()
    bench.samples(report(working(9, "a", 2)), owners=asked())
    assert completed(bench.samples(report(), owners=asked())) == {("a",): 2}


def test_a_devices_events_are_not_its_holders() -> None:
    """What a device counted goes on whoever has it next, in one series; its other readings say
    whose it is."""
    bench = Bench()
    ecc_labels = set()
    for reading, owner in ((3, NOBODY), (5, RED), (9, BLUE)):
        document = report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": reading})})
        samples = bench.samples(document, owners=Owners(by_device={0: owner}))
        events = samples.of("hardware_ecc_events_total")
        assert events["0", "mem_ecc_corrected"] == reading
        ecc_labels |= set(events)
        shown = {labels[1:-1] for labels in samples.of("neurondevice_ecc_reading")}
        assert shown == {tuple(value for _, value in owner.labels())}
    assert len(ecc_labels) == 4


def test_cores_do_not_wait() -> None:
    """Gauges may change hands: a core is shown from the first report on."""
    samples = Bench().samples(report(working(9, "a", _0=50)), owners=asked())
    assert samples.of(BUSY)["0",] == 0.5


# What a scheduler gave


LNC_2 = {**HARDWARE, "neuron_device_count": 2, "neuroncore_per_device_count": 4}
LNC_2 |= {"logical_neuroncore_config": 2}
"""Two devices of eight physical cores, which are shown as four logical ones."""


def given(
    cores: dict[int, Owner] | None = None,
    devices: dict[int, Owner] | None = None,
    highest: int | None = None,
) -> Owners:
    """What the kubelet tells."""
    return Owners(allocation=Allocation(cores or {}, devices or {}, highest))


def allocated(owners: Owners, **hardware: Any) -> str:
    """A digit for each core: 1 where it is given to somebody; empty where that is not known."""
    document = report(neuron_hardware_info=hardware or HARDWARE)
    samples = Bench().samples(document, owners=owners).of("neuroncore_allocated")
    return "".join(str(int(value)) for value in samples.values())


def holders(owners: Owners, **hardware: Any) -> dict[str, str]:
    """The container of each core that has one."""
    document = report(neuron_hardware_info=hardware or HARDWARE)
    samples = Bench().samples(document, owners=owners).of(BUSY)
    return {labels[0]: labels[1] for labels in samples if len(labels) > 1}


def test_a_core_that_was_given_shows_it_though_it_is_idle() -> None:
    """Allocated beside utilization: who holds cores and does nothing is seen."""
    owners = given({0: RED}, {1: BLUE})
    assert allocated(owners) == "1011"
    assert holders(owners) == {"0": "red", "2": "blue", "3": "blue"}


def test_where_nobody_tells_nothing_is_said_of_allocation() -> None:
    """Neither 0 nor 1: the metric is absent outside of Kubernetes, or while the kubelet is away."""
    assert allocated(Owners()) == ""
    assert allocated(Owners(by_core={0: RED})) == ""


def test_what_nobody_was_given_is_free() -> None:
    """A kubelet that gave nothing says that every core is free."""
    assert allocated(given()) == "0000"


@pytest.mark.parametrize(
    ("owners", "cores", "who"),
    [
        pytest.param(
            given({14: RED, 15: RED}), "00000001", {"7": "red"}, id="numbers of physical cores"
        ),
        pytest.param(
            given({0: RED, 1: RED}, highest=15), "10000000", {"0": "red"}, id="the first of sixteen"
        ),
        pytest.param(
            given({0: RED, 1: BLUE}, highest=15), "10000000", {}, id="two on one logical core"
        ),
        pytest.param(
            given({0: RED, 1: BLUE}, highest=7), "11000000", {"0": "red", "1": "blue"}, id="logical"
        ),
        pytest.param(given({0: RED, 1: BLUE}), "", {}, id="could be either"),
        pytest.param(
            given({0: RED}, {0: BLUE}, 15), "11110000", dict.fromkeys("123", "blue"), id="conflict"
        ),
        pytest.param(
            Owners(allocation=Allocation({14: RED}, {}, is_whole=False)),
            "",
            {"7": "red"},
            id="not all was understood",
        ),
        pytest.param(
            given(devices={1: RED}), "00001111", dict.fromkeys("4567", "red"), id="whole devices"
        ),
    ],
)
def test_numbers_of_cores_are_read_as_what_they_are(
    owners: Owners, cores: str, who: dict[str, str]
) -> None:
    """With logical cores of two physical ones a number may be of either kind: what could be both
    names nobody."""
    assert allocated(owners, **LNC_2) == cores
    assert holders(owners, **LNC_2) == who


def test_numbers_are_not_read_before_the_hardware_is_known() -> None:
    """Until a report tells how large logical cores are, a number of a core names nobody."""
    bench = Bench()
    owners = given({2: RED, 3: RED}, highest=15)
    unknown = report(working(9, "a", _2=50), neuron_hardware_info=None)
    assert {len(labels) for labels in bench.samples(unknown, owners=owners).of(BUSY)} == {1}
    known = report(working(9, "a", _2=50), neuron_hardware_info=LNC_2)
    assert ("1", "red", "train") in bench.samples(known, owners=owners).of(BUSY)


def test_a_kubelet_that_gave_nothing_is_believed_before_the_stream() -> None:
    """What the stream said of pods a minute ago is old news where the kubelet answers."""
    pod = {"pod_name": "old", "namespace": "ml", "container_name": ["c"]}
    info = group(period=15.0, neuroncores_k8s_info={"0": pod}, neurondevices_k8s_info={})
    samples = Bench().samples(report(working(9, "a", _0=1), neuron_k8s_info=info), owners=given())
    assert ("0",) in samples.of(BUSY)
