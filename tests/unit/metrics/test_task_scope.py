"""What of a report is one task's, on a machine that several tasks share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from neuron_exporter.identity.devices import devices
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import Period
from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.metrics.task_scope import Task
from neuron_exporter.model import Machine, Moment, Owners
from tests.support.reports import (
    HARDWARE,
    Samples,
    cores,
    decoded,
    executions,
    memory,
    report,
    runtime,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A container's /dev with the second of the machine's two devices."""
    for name in ("neuron1", "null", "neuron_x", "neuron"):
        (tmp_path / name).touch()
    return tmp_path


class Sidecar:
    """A collector for one task."""

    def __init__(self, folder: Path) -> None:
        task = Task(lambda: devices(str(folder)))
        rows = for_cloudwatch("full", [], [], of_task=True, per_owner=True)[0].rows
        self._collector = Collector(rows, Counters(), Period(5.0), task=task)
        self._now = 0.0

    def samples(self, document: Any) -> Samples:
        """What one report shows of the task."""
        self._now += 5
        at = Moment(1_700_000_000 + self._now, self._now)
        return Samples(self._collector.collect(decoded(document), at, Machine(), Owners()).snapshot)


def two(mine: float = 4, others: float = 9) -> dict[str, Any]:
    """A report of both tasks: ours on core 2, the other one on core 0."""
    return report(
        runtime(
            1,
            "others",
            neuroncore_counters=cores(_0=80, _1=0, _2=0, _3=0),
            execution_stats=executions(others, {"p50": 0.4}),
            memory_used=memory({"0": {"tensors": 10}}, host=7),
        ),
        runtime(
            2,
            "mine",
            neuroncore_counters=cores(_0=0, _1=0, _2=40, _3=0),
            execution_stats=executions(mine, {"p50": 0.1}),
            memory_used=memory({"2": {"tensors": 20}}, host=11),
        ),
    )


def by_core(samples: Samples, name: str) -> Mapping[str, float | None]:
    """The values of a metric by core."""
    return {labels[0]: value for labels, value in samples.of(name).items()}


def test_devices_are_those_of_the_folder(folder: Path) -> None:
    """Files that only look like devices are none, and neither is what cannot be read."""
    assert devices(str(folder)) == {1}
    assert devices(str(folder / "nowhere")) == frozenset()


def test_only_the_tasks_cores_and_runtimes_count(folder: Path) -> None:
    """Cores of other tasks' devices, and runtimes that hold none of ours, are not there; our idle
    core is."""
    samples = Sidecar(folder).samples(two())
    assert by_core(samples, "neuroncore_utilization_ratio") == {"2": 0.4, "3": 0.0}
    assert by_core(samples, "neuroncore_memory_usage_tensors") == {"2": 20, "3": 0}
    assert samples.one("neuron_executions_total", "completed") == 4
    assert samples.one("neuroncores_in_use") == 1
    assert set(samples.of("execution_status_total")) == {
        ("mine", "completed"),
        ("mine", "timed_out"),
    }


def test_a_runtime_that_rests_is_still_ours(folder: Path) -> None:
    """Whoever once held one of our cores is counted to its end, busy or not."""
    sidecar = Sidecar(folder)
    sidecar.samples(two())
    resting = runtime(
        2, "mine", neuroncore_counters=cores(_2=0, _3=0), execution_stats=executions(3)
    )
    samples = sidecar.samples(report(resting))
    assert samples.one("neuron_executions_total", "completed") == 7


def test_a_runtime_that_cannot_be_read_may_be_ours(folder: Path) -> None:
    """Cores that it may use are not called idle; one that is known as another task's costs
    nothing."""
    broken = runtime(3, "broken", error="cannot be read")
    samples = Sidecar(folder).samples(report(broken))
    assert by_core(samples, "neuroncore_utilization_ratio") == {}
    sidecar = Sidecar(folder)
    sidecar.samples(two())
    others = runtime(1, "others", error="cannot be read")
    samples = sidecar.samples(report(others))
    assert by_core(samples, "neuroncore_utilization_ratio") == {"2": 0.0, "3": 0.0}


def test_a_report_of_this_container_alone_is_all_ours(folder: Path) -> None:
    """Where the report counts no more devices than there are, its numbers may begin at 0."""
    one = {**HARDWARE, "neuron_device_count": 1}
    busy = runtime(1, neuroncore_counters=cores(_0=50, _1=0), execution_stats=executions(2))
    samples = Sidecar(folder).samples(report(busy, neuron_hardware_info=one))
    assert by_core(samples, "neuroncore_utilization_ratio") == {"0": 0.5, "1": 0.0}
    assert samples.one("neuron_executions_total", "completed") == 2


def test_cores_that_cannot_be_placed_are_nobodys(folder: Path) -> None:
    """Without knowing how many cores a device has, no core is said to be ours."""
    samples = Sidecar(folder).samples({**two(), "neuron_hardware_info": None})
    assert by_core(samples, "neuroncore_utilization_ratio") == {}


def test_what_hardware_told_once_holds(folder: Path) -> None:
    """A report whose hardware section fails costs no tally: the machine has not changed."""
    sidecar = Sidecar(folder)
    sidecar.samples(two())
    failing = {**HARDWARE, "error": "busy"}
    samples = sidecar.samples({**two(), "neuron_hardware_info": failing})
    assert samples.one("neuron_executions_total", "completed") == 8


def test_a_part_of_the_machine_is_said_once(folder: Path) -> None:
    """The operator learns that cores are told apart by their numbers, not with every report."""
    sidecar = Sidecar(folder)
    with structlog.testing.capture_logs() as log:
        for _ in range(3):
            sidecar.samples(two())
    assert [(e["event"], e["devices_of_the_task"], e["devices_of_the_report"]) for e in log] == [
        ("task_has_part_of_the_machine", [1], 2)
    ]


def test_a_task_without_devices_is_told_what_is_missing(tmp_path: Path) -> None:
    """A sidecar whose container has no device sends nothing of cores, and says why, once."""
    sidecar = Sidecar(tmp_path)
    with structlog.testing.capture_logs() as said:
        for _ in range(2):
            assert by_core(sidecar.samples(two()), "neuroncore_utilization_ratio") == {}
    assert [(each["log_level"], each["event"]) for each in said] == [
        ("error", "task_has_no_devices")
    ]
