"""Alerts on cores and those who hold them, with a kubelet that allocates cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from grpclib.const import Status

from tests.support.kubelet import CORE, KubeletServer, PodResource, kubelet_server
from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import alerts_fired, alerts_firing, annotations
from tests.support.rule_frames import (
    STEP,
    Frame,
    Frames,
    StdinExporter,
    reports,
    stdin_exporter,
    with_failed_scrapes,
)
from tests.support.rule_scenarios import BUSY, healthy_hour
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")

COUNT = 160
END = (COUNT - 1) * STEP
IDLE = ("--scenario", "idle", "--runtimes", "2")
ALLOCATED = "neuroncore_allocated"


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Return an hour of a healthy machine without Kubernetes."""
    return healthy_hour(tmp_path_factory.mktemp("healthy"))


@contextmanager
def on_kubernetes(
    folder: Path, *allocated: PodResource
) -> Iterator[tuple[KubeletServer, StdinExporter]]:
    """Run a kubelet that has allocated these cores, and an exporter that asks it."""
    with (
        kubelet_server(folder, *allocated) as kubelet,
        stdin_exporter(folder, NEURON_EXPORTER_KUBELET_SOCKET=str(kubelet.socket)) as exporter,
    ):
        wait_for(lambda: kubelet.calls)
        yield kubelet, exporter


def feed_until(
    exporter: StdinExporter, line: bytes, condition: Callable[[Frame], bool]
) -> list[Frame]:
    """Send a report until its frame fulfils the condition, and return that frame."""

    def fulfilling() -> list[Frame]:
        (shown,) = exporter.feed([line])
        return [shown] if condition(shown) else []

    return wait_for(fulfilling, every=0.2)


def is_known(shown: Frame) -> bool:
    """Return whether the exporter knows which cores are allocated."""
    return any(name.startswith(ALLOCATED) for name in shown)


def simulate_allocated(folder: Path, *flags: str, allocated: Sequence[PodResource]) -> Frames:
    """Return the frames of a machine whose cores a kubelet has allocated."""
    folder.mkdir()
    with on_kubernetes(folder, *allocated) as (_, exporter):
        lines = reports(COUNT, *flags)
        return feed_until(exporter, lines[0], is_known) + exporter.feed(lines[1:])


TRAIN = PodResource("train", CORE, [0, 1])


def test_idle_allocated_cores(tmp_path: Path, healthy: Frames) -> None:
    """The alert fires after half an hour, even if scrapes fail; not for busy cores or without a
    kubelet."""
    idle = simulate_allocated(tmp_path / "idle", *IDLE, allocated=[TRAIN])
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": with_failed_scrapes(idle, 30, 90)},
        alerts_fired(1770),
        alerts_firing(1900, "NeuronAllocatedIdle"),
        alerts_fired(END, "NeuronAllocatedIdle"),
        {
            "expr": "sum by (namespace, pod) (holder:neuroncores_allocated_idle:count5m)",
            "eval_time": "1900s",
            "exp_samples": [{"labels": '{namespace="ml",pod="train"}', "value": 2}],
        },
    )
    busy = simulate_allocated(tmp_path / "busy", *BUSY, allocated=[TRAIN])
    check_with_alarms(tmp_path, {"healthy:9415": healthy, "faulty:9415": busy}, alerts_fired(END))


def test_allocated_cores_without_a_runtime(tmp_path: Path, healthy: Frames) -> None:
    """The alert fires a quarter of an hour after the runtime of one of two cores has exited."""
    onset = 20
    flags = (*BUSY, "--runtimes", "2", "--faults", f"runtime-exit@{onset}")
    waiting = simulate_allocated(tmp_path / "waiting", *flags, allocated=[TRAIN])
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": with_failed_scrapes(waiting, 30, 90)},
        alerts_fired(onset * STEP + 1100),
        alerts_firing(onset * STEP + 1350, "NeuronAllocatedWithoutRuntime"),
        alerts_fired(onset * STEP + 1900, "NeuronAllocatedWithoutRuntime"),
    )
    (found,) = annotations(tmp_path, {"faulty:9415": waiting}, "NeuronAllocatedWithoutRuntime", END)
    assert found["summary"].startswith("ml/train has 1 NeuronCores on i-")


def test_process_of_no_living_pod_holds_cores(tmp_path: Path, healthy: Frames) -> None:
    """The kubelet has allocated nothing, but runtimes use the cores."""
    free = PodResource("other", "cpu", [0])
    held = simulate_allocated(tmp_path / "held", *BUSY, "--runtimes", "2", allocated=[free])
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": with_failed_scrapes(held, 30, 90)},
        alerts_fired(570),
        alerts_firing(700, "NeuronCoreHeld"),
        alerts_fired(END, "NeuronCoreHeld"),
    )
    found = annotations(tmp_path, {"faulty:9415": held}, "NeuronCoreHeld", 700)
    assert len(found) == 2
    for each in found:
        assert " NeuronCores on i-" in each["summary"]
        assert each["summary"].startswith("Process ")


def test_pod_that_ends_has_ten_minutes_to_release_its_cores(
    tmp_path: Path, healthy: Frames
) -> None:
    lines = reports(COUNT, *BUSY)
    idle = reports(COUNT, "--scenario", "idle", "--runtimes", "0")
    with on_kubernetes(tmp_path, TRAIN) as (kubelet, exporter):
        frames = feed_until(exporter, lines[0], is_known) + exporter.feed(lines[1:20])
        kubelet.allocated = ()
        frames += feed_until(
            exporter, lines[20], lambda shown: shown_value(shown, ALLOCATED) == {0.0}
        )
        frames += exporter.feed(lines[21:50])
        frames += exporter.feed(idle[50:])
    check_with_alarms(tmp_path, {"healthy:9415": healthy, "faulty:9415": frames}, alerts_fired(END))


def shown_value(shown: Frame, name: str) -> set[float]:
    """Return the values of a metric's series."""
    return {value for series, value in shown.items() if series.startswith(name)}


def test_owners_that_were_known(tmp_path: Path, healthy: Frames) -> None:
    """The alert fires a quarter of an hour after the kubelet's last answer."""
    lines = reports(COUNT, *BUSY)
    with on_kubernetes(tmp_path, TRAIN) as (kubelet, exporter):
        known = feed_until(exporter, lines[0], is_known) + exporter.feed(lines[1:40])
        kubelet.error_code = Status.UNAVAILABLE
        unknown = feed_until(exporter, lines[40], lambda shown: not is_known(shown))
        unknown += exporter.feed(lines[41:])
    onset = len(known) * STEP
    check_with_alarms(
        tmp_path,
        {"healthy:9415": healthy, "faulty:9415": with_failed_scrapes([*known, *unknown], 60, 90)},
        alerts_fired(onset + 1170),
        alerts_firing(onset + 1320, "NeuronOwnersUnknown"),
        alerts_fired(END, "NeuronOwnersUnknown"),
    )
