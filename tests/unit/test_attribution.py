"""Whose runtimes, cores and devices are, by all that is told, and when it is shown."""

from __future__ import annotations

from typing import Any

from exporter.model import Owner, Owners, Task
from tests.support.reports import Bench, Samples, cores, ecc, executions, memory, report, runtime

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
    assert completed(bench.samples(taken, owners=owners)) == {("a",): 5}, (
        "whose core 1 is, who knows"
    )


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


def test_who_ended_while_it_waited_is_shown_all_the_same() -> None:
    """What a short worker did is counted under the labels that are known."""
    bench = Bench()
    bench.samples(report(working(9, "a", 2)), owners=asked())
    assert completed(bench.samples(report(), owners=asked())) == {("a",): 2}


def test_cores_do_not_wait() -> None:
    """Gauges may change hands: a core is shown from the first report on."""
    samples = Bench().samples(report(working(9, "a", _0=50)), owners=asked())
    assert samples.of(BUSY)["0",] == 0.5
