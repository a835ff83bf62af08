"""Reports restricted to one task of a machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from neuron_exporter.identity.local import present_devices
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.selection import select_for_cloudwatch
from neuron_exporter.metrics.task_scope import TaskScope
from neuron_exporter.model import Machine, Owners, Timestamp
from tests.support.reports import (
    HARDWARE,
    Samples,
    cores,
    decode_document,
    executions,
    memory,
    report,
    report_of_devices,
    runtime,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a container's /dev with the second of the machine's two devices."""
    for name in ("neuron1", "null", "neuron_x", "neuron"):
        (tmp_path / name).touch()
    return tmp_path


class Sidecar:
    """Collector of one task."""

    def __init__(self, folder: Path) -> None:
        scope = TaskScope(lambda: present_devices(str(folder)))
        rows = select_for_cloudwatch("full", [], [], task_scope=True, per_owner=True)[0].rows
        self._collector = Collector(rows, Counters(), ReportPeriod(5.0), scope=scope)
        self._now = 0.0

    def samples(self, document: Any) -> Samples:
        """Return the samples of one report."""
        self._now += 5
        at = Timestamp(1_700_000_000 + self._now, self._now)
        return Samples(
            self._collector.collect(decode_document(document), at, Machine(), Owners()).snapshot
        )


def two_tasks(ours: float = 4, others: float = 9) -> dict[str, Any]:
    """Return a report of both tasks: ours on core 2, the other one on core 0."""
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
            "ours",
            neuroncore_counters=cores(_0=0, _1=0, _2=40, _3=0),
            execution_stats=executions(ours, {"p50": 0.1}),
            memory_used=memory({"2": {"tensors": 20}}, host=11),
        ),
    )


def by_core(samples: Samples, name: str) -> Mapping[str, float | None]:
    """Return the values of a metric by core."""
    return {labels[0]: value for labels, value in samples.values(name).items()}


def test_devices_are_read_from_folder(folder: Path) -> None:
    assert present_devices(str(folder)) == {1}
    assert present_devices(str(folder / "nowhere")) == frozenset()


def test_only_cores_and_runtimes_of_the_task_count(folder: Path) -> None:
    samples = Sidecar(folder).samples(two_tasks())
    assert by_core(samples, "neuroncore_utilization_ratio") == {"2": 0.4, "3": 0.0}
    assert by_core(samples, "neuroncore_memory_usage_tensors") == {"2": 20, "3": 0}
    assert samples.value("neuron_executions_total", "completed") == 4
    assert samples.value("neuroncores_in_use") == 1
    assert {tag for tag, _ in samples.values("execution_status_total")} == {"ours"}


def test_idle_runtime_still_belongs_to_the_task(folder: Path) -> None:
    sidecar = Sidecar(folder)
    sidecar.samples(two_tasks())
    resting = runtime(
        2, "ours", neuroncore_counters=cores(_2=0, _3=0), execution_stats=executions(3)
    )
    samples = sidecar.samples(report(resting))
    assert samples.value("neuron_executions_total", "completed") == 7


def test_unreadable_runtime(folder: Path) -> None:
    """Its cores are not shown as idle, unless it is known to belong to another task."""
    broken = runtime(3, "broken", error="cannot be read")
    samples = Sidecar(folder).samples(report(broken))
    assert by_core(samples, "neuroncore_utilization_ratio") == {}
    sidecar = Sidecar(folder)
    sidecar.samples(two_tasks())
    others = runtime(1, "others", error="cannot be read")
    samples = sidecar.samples(report(others))
    assert by_core(samples, "neuroncore_utilization_ratio") == {"2": 0.0, "3": 0.0}


def test_report_of_this_container_alone(folder: Path) -> None:
    """It belongs to the task as a whole, and its numbers may start at 0."""
    one = {**HARDWARE, "neuron_device_count": 1}
    busy = runtime(1, neuroncore_counters=cores(_0=50, _1=0), execution_stats=executions(2))
    samples = Sidecar(folder).samples(report(busy, neuron_hardware_info=one))
    assert by_core(samples, "neuroncore_utilization_ratio") == {"0": 0.5, "1": 0.0}
    assert samples.value("neuron_executions_total", "completed") == 2


def test_no_cores_before_cores_per_device_are_known(folder: Path) -> None:
    samples = Sidecar(folder).samples({**two_tasks(), "neuron_hardware_info": None})
    assert by_core(samples, "neuroncore_utilization_ratio") == {}


def test_hardware_counts_are_remembered(folder: Path) -> None:
    sidecar = Sidecar(folder)
    sidecar.samples(two_tasks())
    failing = {**HARDWARE, "error": "busy"}
    samples = sidecar.samples({**two_tasks(), "neuron_hardware_info": failing})
    assert samples.value("neuron_executions_total", "completed") == 8


def test_partial_device_access_is_logged_once(folder: Path) -> None:
    sidecar = Sidecar(folder)
    with structlog.testing.capture_logs() as log:
        for _ in range(3):
            sidecar.samples(two_tasks())
    assert [(e["event"], e["devices_of_the_task"], e["devices_of_the_report"]) for e in log] == [
        ("partial_device_access", [1], 2)
    ]


def test_missing_devices_are_logged_once(tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path)
    with structlog.testing.capture_logs() as log:
        for _ in range(2):
            assert by_core(sidecar.samples(two_tasks()), "neuroncore_utilization_ratio") == {}
    assert [(each["log_level"], each["event"]) for each in log] == [
        ("error", "no_devices_in_container")
    ]


# Devices that a report lists


def container(tmp_path: Path, *devices: int) -> Sidecar:
    """Return the collector of a task with these devices."""
    for device in devices:
        (tmp_path / f"neuron{device}").touch()
    return Sidecar(tmp_path)


def utilization(samples: Samples) -> dict[int, float | None]:
    """Return the utilization by core."""
    return {int(c): share for c, share in by_core(samples, "neuroncore_utilization_ratio").items()}


def device_counts(samples: Samples) -> tuple[Any, Any]:
    """Return the expected and the present devices."""
    return samples.value("neuron_devices_expected"), samples.value("neuron_devices_present")


@pytest.mark.parametrize("count", [4, 16])
def test_task_with_the_last_devices(tmp_path: Path, count: int) -> None:
    sidecar = container(tmp_path, 4, 5, 6, 7)
    listed = (4, 5, 6, 7) if count == 4 else tuple(range(16))
    busy = sidecar.samples(report_of_devices(count, *listed, busy=dict.fromkeys(range(8, 16), 100)))
    assert utilization(busy) == dict.fromkeys(range(8, 16), 1.0)
    assert device_counts(busy) == (4, 4)
    idle = sidecar.samples(report_of_devices(count, *listed))
    assert utilization(idle) == dict.fromkeys(range(8, 16), 0.0)


def test_task_that_lost_a_device(tmp_path: Path) -> None:
    samples = container(tmp_path, 4, 5, 6, 7).samples(report_of_devices(15, 4, 5, 7, 8, 9))
    assert utilization(samples).keys() == {8, 9, 10, 11, 14, 15}
    assert device_counts(samples) == (4, 3)


def test_lost_device_of_another_task(tmp_path: Path) -> None:
    """A report with as many devices as the task has may have one of another task."""
    sidecar = container(tmp_path, *range(15))
    samples = sidecar.samples(report_of_devices(15, 0, 1, 2, *range(4, 16)))
    assert not {6, 7, 30, 31} & utilization(samples).keys()
    assert device_counts(samples) == (15, 14)


def test_numbers_of_the_devices_are_unknown(tmp_path: Path) -> None:
    """Which cores are idle does not follow from the count, only from a list or a runtime."""
    sidecar = container(tmp_path, 2, 3)
    assert utilization(sidecar.samples(report_of_devices(2))) == {}
    busy = sidecar.samples(report_of_devices(2, busy={4: 50, 5: 0, 6: 0, 7: 0}))
    assert utilization(busy) == {4: 0.5, 5: 0, 6: 0, 7: 0}
    assert utilization(sidecar.samples(report_of_devices(2))).keys() == {4, 5, 6, 7}


def test_new_process_with_the_pid_of_another_task(folder: Path) -> None:
    """The cores of an exited runtime are forgotten, so that its pid and tag may be ours next."""
    sidecar = Sidecar(folder)
    sidecar.samples(two_tasks())
    sidecar.samples(report())
    ours = runtime(1, "others", execution_stats=executions(5))
    samples = sidecar.samples(report(ours))
    assert samples.value("execution_status_total", "others", "completed") == 5
