"""Labels of processes on their runtimes, cores and devices."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.metrics.series_cache import OWNER_WAIT
from neuron_exporter.model import Allocation, Labels, Owner, Owners
from tests.support.reports import (
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

BUSY = "neuroncore_utilization_ratio"
CORE_RUNTIMES = "neuroncore_runtime_info"
COMPLETED = "execution_status_total"
OF_DEVICES = "neurondevice_ecc_reading"
ONE, TWO = (("job_id", "1"),), (("job_id", "2"),)
TEAM = (("team", "a"),)


def jobs(by_pid: dict[int, Labels], **more: Any) -> Owners:
    """Return owners with these labels of processes."""
    return Owners(process_labels=by_pid, **more)


def on(pid: int, *used: int, done: float = 1, **groups: Any) -> dict[str, Any]:
    """Return a runtime that has memory on some of the four cores."""
    filled = memory({str(core): {"tensors": 8} for core in used})
    idle = cores(_0=0, _1=0, _2=0, _3=0)
    return runtime(
        pid,
        "train",
        **{
            "neuroncore_counters": idle,
            "memory_used": filled,
            "execution_stats": executions(done),
            **groups,
        },
    )


def labels_of(samples: Samples, name: str) -> dict[str, tuple[str, ...]]:
    """Return the other labels of each core, device or runtime, by its first label."""
    return {labels[0]: labels[1:] for labels in samples.values(name)}


def completed(samples: Samples) -> dict[tuple[str, ...], float]:
    """Return the completed executions by the labels of runtimes behind their tag."""
    values = samples.values(COMPLETED).items()
    return {labels[1:-1]: value for labels, value in values if labels[-1] == "completed"}


def test_labels_of_runtimes_and_their_cores() -> None:
    samples = Harness().samples(report(on(7, 0, 1), on(8, 3)), owners=jobs({7: ONE, 8: ()}))
    assert completed(samples) == {("1",): 1, (): 1}
    assert labels_of(samples, BUSY) == {"0": ("1",), "1": ("1",), "2": (), "3": ()}
    assert {*samples.values(CORE_RUNTIMES)} == {
        ("0", "train", "7", "1"),
        ("1", "train", "7", "1"),
        ("3", "train", "8"),
    }


def test_labels_join_those_of_the_allocation() -> None:
    """A core keeps its pod, also while it is idle, and the runtime inherits it."""
    pod = Owner(namespace="ml", pod="train", container="main")
    owners = jobs({7: ONE}, allocation=Allocation({0: pod, 1: pod}, {}, 3), lookup_enabled=True)
    harness = Harness()
    samples = harness.samples(report(on(7, 0)), owners=owners)
    assert labels_of(samples, BUSY) == {
        "0": ("ml", "train", "main", "1"),
        "1": ("ml", "train", "main"),
        "2": (),
        "3": (),
    }
    assert completed(samples) == {("ml", "train", "main", "1"): 1}
    assert harness.samples(report(on(7, 0)), owners=owners).snapshot.shape is samples.snapshot.shape
    idle = harness.samples(report(), owners=owners)
    assert labels_of(idle, BUSY)["0"] == ("ml", "train", "main")


def test_shared_core_has_what_its_processes_share() -> None:
    owners = jobs({7: (*ONE, *TEAM), 8: (*TWO, *TEAM), 9: ()})
    samples = Harness().samples(report(on(7, 0, 1), on(8, 0, 2), on(9, 2)), owners=owners)
    assert labels_of(samples, BUSY) == {"0": ("a",), "1": ("1", "a"), "2": (), "3": ()}


@pytest.mark.parametrize(
    ("runtimes", "devices"),
    [
        ([on(7, 0)], {"0": ("1",), "1": ()}),
        ([on(7, 0, 1, 2)], {"0": ("1",), "1": ("1",)}),
        ([on(7, 0), on(8, 1)], {"0": (), "1": ()}),
        ([on(7, 0), on(9, 1), on(8, 2)], {"0": (), "1": ("2",)}),
    ],
    ids=["an idle core", "two devices", "two jobs", "without a job"],
)
def test_device_has_what_its_used_cores_share(
    runtimes: list[dict[str, Any]], devices: dict[str, tuple[str, ...]]
) -> None:
    document = report(*runtimes, system_data={"neuron_hw_counters": ecc({}, {})})
    samples = Harness().samples(document, owners=jobs({7: ONE, 8: TWO, 9: ()}))
    found = labels_of(samples, OF_DEVICES)
    assert {device: labels[:-1] for device, labels in found.items()} == devices


def test_job_that_ends_and_the_next_with_the_same_tag() -> None:
    """They are two series, also if the next process has the same pid."""
    harness = Harness()
    harness.collect(report(on(7, 0, done=3)), owners=jobs({7: ONE}))
    harness.collect(report(on(8, 0, done=4)), owners=jobs({8: TWO}))
    three = (("job_id", "3"),)
    samples = harness.samples(report(on(8, 0, done=5)), owners=jobs({8: three}))
    assert completed(samples) == {("1",): 3, ("2",): 4, ("3",): 5}
    assert labels_of(samples, BUSY)["0"] == ("3",)
    assert samples.value("neuron_executions_total", "completed") == 12


def test_runtime_is_shown_once_its_process_was_read() -> None:
    harness = Harness()
    document = report(on(7, 0))
    assert completed(harness.samples(document, owners=jobs({}))) == {}
    assert completed(harness.samples(document, owners=jobs({7: ONE}))) == {("1",): 2}
    harness = Harness()
    assert completed(harness.samples(document, owners=jobs({7: ()}))) == {(): 1}


def test_process_that_cannot_be_read_is_shown_at_last() -> None:
    harness = Harness()
    reports = int(OWNER_WAIT / 5)
    for _ in range(reports):
        assert completed(harness.samples(report(on(7, 0)), owners=jobs({}))) == {}
    assert completed(harness.samples(report(on(7, 0)), owners=jobs({}))) == {(): reports + 1}


def test_runtime_keeps_its_labels_without_an_answer() -> None:
    """Its counter goes on, also when the lookup no longer answers. The next process starts anew."""
    harness = Harness()
    reports = 2 * int(OWNER_WAIT / 5)
    for number in range(reports):
        owners = jobs({7: ONE} if number < reports / 2 else {})
        samples = harness.samples(report(on(7, 0)), owners=owners)
        assert completed(samples) == {("1",): number + 1}
        assert labels_of(samples, BUSY)["0"] == ("1",)
    harness.collect(report(), owners=jobs({}))
    samples = harness.samples(report(on(7, 0)), owners=jobs({}))
    assert completed(samples) == {("1",): reports}


def test_labels_do_not_stand_for_a_pod() -> None:
    """A runtime whose pod is looked up waits for it, though its labels are known."""
    document = report(on(7, 0))
    owners = jobs({7: ONE}, lookup_enabled=True)
    assert completed(Harness().samples(document, owners=owners)) == {}


def test_core_keeps_its_labels_while_its_runtime_cannot_be_read() -> None:
    harness = Harness()
    owners = jobs({7: ONE})
    harness.collect(report(on(7, 0)), owners=owners)
    for unread in (
        on(7, memory_used=group("broken")),
        on(7, memory_used=None),
        runtime(7, "train", error="gone"),
    ):
        other = on(9, 2)
        samples = harness.samples(report(unread, other), owners=jobs({7: ONE, 9: ()}))
        assert harness.collector._cache.core_labels.by_core == {0: ONE, 2: ()}
        assert labels_of(samples, BUSY).get("0", ("1",)) == ("1",)
    harness.collect({**report(), "neuron_runtime_data": None}, owners=owners)
    assert harness.collector._cache.core_labels.by_core == {}


def test_core_that_a_runtime_leaves_has_no_labels() -> None:
    harness = Harness()
    harness.collect(report(on(7, 0)), owners=jobs({7: ONE}))
    samples = harness.samples(report(on(7, 1)), owners=jobs({7: ONE}))
    assert labels_of(samples, BUSY) == {"0": (), "1": ("1",), "2": (), "3": ()}


def test_counters_of_devices_have_no_labels_of_processes() -> None:
    harness = Harness()
    for reading, owners in ((1, jobs({7: ONE})), (3, jobs({7: TWO}))):
        system = {"neuron_hw_counters": ecc({"mem_ecc_corrected": reading})}
        samples = harness.samples(report(on(7, 0), system_data=system), owners=owners)
    assert samples.value("hardware_ecc_events_total", "0", "mem_ecc_corrected") == 3
    assert ("0", "2", "mem_ecc_corrected") in samples.values(OF_DEVICES)
