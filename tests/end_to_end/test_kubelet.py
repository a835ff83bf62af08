"""A running exporter beside a kubelet: every core's pod, and what goes wrong."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.owners.resolver import REFRESH
from tests.support.children import script
from tests.support.endpoint import Endpoint
from tests.support.exporter import RunningExporter, running_exporter
from tests.support.kubelet import CORE, Given, Kubelet, kubelet, listening
from tests.support.processes import resident
from tests.support.reports import INSTANCE
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for

CORES = 64
PERIOD = 1.0
LATE = REFRESH + 2 * PERIOD + 1
"""Seconds after which a scrape shows what the kubelet answers: a round, a report on its way, and
the next one; and what two busy cores of this machine take."""

BUSY = "neuroncore_utilization_ratio"


def simulator(folder: Path) -> dict[str, Any]:
    """A machine with 64 cores that is idle."""
    report = {
        "neuron_runtime_data": [],
        "system_data": {},
        "instance_info": INSTANCE,
        "neuron_hardware_info": {
            "neuron_device_count": 16,
            "neuroncore_per_device_count": 4,
            "error": "",
        },
    }
    path = folder / "report.json"
    path.write_text(json.dumps(report) + "\n")
    monitor = script(folder / "monitor", f"while sleep {PERIOD}; do cat {path}; done")
    return {"command": [str(monitor)], "period": "1s"}


def running(folder: Path, socket: Path, **identity: Any) -> Any:
    """The exporter, which finds the kubelet there."""
    config = {"source": simulator(folder), "identity": identity}
    environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(socket)}
    return running_exporter(folder, config, environment=environment)


def pods(exporter: RunningExporter) -> dict[int, str]:
    """The pod of each core that has one, by a scrape."""
    family = exporter.families().get(BUSY)
    return {
        int(sample.labels["neuroncore"]): sample.labels["pod"]
        for sample in (family.samples if family else ())
        if "pod" in sample.labels
    }


class Churn:
    """Pods that come and go on 64 cores, and what was true when."""

    def __init__(self, played: Kubelet, seed: int) -> None:
        self._rng = random.Random(seed)
        self._played = played
        self._truth: dict[int, str] = {}
        self.history: list[tuple[float, Mapping[int, str]]] = []
        self._number = 0
        self.turn()

    def turn(self) -> None:
        """Some pods end, some others get cores; and the kubelet answers so from now on."""
        for pod in {*self._truth.values()}:
            if self._rng.random() < 0.4:
                self._truth = {core: held for core, held in self._truth.items() if held != pod}
        free = [core for core in range(CORES) if core not in self._truth]
        self._rng.shuffle(free)
        while len(free) > 12:
            self._number += 1
            taken, free = free[:8], free[8:]
            self._truth |= dict.fromkeys(taken, f"pod-{self._number}")
        by_pod: dict[str, list[int]] = {}
        for core, pod in self._truth.items():
            by_pod.setdefault(pod, []).append(core)
        self._played.given = [Given(pod, CORE, ids) for pod, ids in by_pod.items()]
        self.history.append((time.monotonic(), dict(self._truth)))

    def may_be(self, since: float, until: float) -> list[Mapping[int, str]]:
        """What was true at some time between."""
        before = [truth for at, truth in self.history if at <= since]
        return before[-1:] + [truth for at, truth in self.history if since < at <= until]


@pytest.mark.usefixtures("needs_prometheus")
def test_every_scrape_shows_who_holds_which_core(tmp_path: Path) -> None:
    """64 cores with pods that come and go: no scrape names a pod that did not hold the core within
    the last round, a core that changes hands follows within it, and a real Prometheus shows the
    same."""
    with kubelet(tmp_path) as played:
        churn = Churn(played, seed=20)
        with running(tmp_path, played.socket) as exporter:
            wait_for(lambda: pods(exporter) == churn.history[-1][1])
            ends = time.monotonic() + 3 * LATE
            turned = time.monotonic()
            scrapes = 0
            while time.monotonic() < ends:
                before = time.monotonic()
                shown = pods(exporter)
                truths = churn.may_be(before - LATE, time.monotonic())
                wrong = {
                    core: pod
                    for core, pod in shown.items()
                    if pod not in {truth.get(core) for truth in truths}
                }
                missing = {
                    core
                    for core in range(CORES)
                    if core not in shown and all(core in truth for truth in truths)
                }
                assert (wrong, missing) == ({}, set()), truths
                scrapes += 1
                if time.monotonic() - turned > LATE / 2:
                    churn.turn()
                    turned = time.monotonic()
                wait_for(lambda at=before: time.monotonic() > at + 0.1)
            assert scrapes > 50
            assert len(churn.history) > 4
            with prometheus_server(tmp_path, exporter.url.removeprefix("http://")) as server:
                truth = churn.history[-1][1]

                def of_prometheus() -> dict[int, str]:
                    found = server.query(f'{BUSY}{{namespace="ml", container="main"}}')
                    return {int(e["metric"]["neuroncore"]): e["metric"]["pod"] for e in found}

                wait_for(lambda: of_prometheus() == truth, LATE + 5)
                (idle,) = server.query(f"count(neuroncore_allocated == 1 and {BUSY} == 0)")
                assert int(idle["value"][1]) == len(truth)
            assert exporter.stop() == 0


def test_a_kubelet_that_comes_late_and_restarts_is_followed(tmp_path: Path) -> None:
    """No socket at first is said once and costs nothing; labels come with the kubelet, stay while
    it restarts, and go where it stays away."""
    played = Kubelet(tmp_path / "kubelet.sock")
    played.given = [Given("train", CORE, range(CORES))]
    with running(tmp_path, played.socket) as exporter:
        exporter.wait_for_event("owners_asked", of="kubelet")
        wait_for(lambda: exporter.value(BUSY, neuroncore="0") == 0)
        assert pods(exporter) == {}
        assert exporter.value("neuroncore_allocated", neuroncore="0") is None
        with listening(played):
            wait_for(lambda: len(pods(exporter)) == CORES, LATE)
        with listening(played):
            asked = played.asked
            wait_for(lambda: played.asked > asked or pods(exporter) == {}, LATE)
            assert len(pods(exporter)) == CORES
        wait_for(lambda: pods(exporter) == {}, 3 * REFRESH + 2)
        assert exporter.value("neuroncore_allocated", neuroncore="0") is None
        kinds = {event["answer"] for event in exporter.events("owners_asked")}
        assert len(exporter.events("owners_asked")) <= 2 * len(kinds) + 2, "said when it changes"
        assert exporter.stop() == 0


def test_a_kubelet_that_hangs_holds_up_nobody(tmp_path: Path) -> None:
    """Scrapes and a stop take no longer, and readings go on without labels."""
    with kubelet(tmp_path, Given("train", CORE, [0])) as played:
        played.is_silent = True
        with running(tmp_path, played.socket) as exporter:
            exporter.wait_for_event("owners_asked", of="kubelet")
            wait_for(lambda: exporter.value(BUSY, neuroncore="0") == 0)
            began = time.monotonic()
            for _ in range(20):
                assert pods(exporter) == {}
            assert time.monotonic() - began < 5
            assert exporter.stop(seconds=5) == 0


def test_memory_with_a_kubelet_is_bounded(
    tmp_path: Path, endpoint: Endpoint, thirty_two_runtimes: Path
) -> None:
    """Reports of 445 kB, both sinks and gRPC take at most 92 MiB."""
    monitor = script(
        tmp_path / "monitor", f"while sleep 0.2; do cat {thirty_two_runtimes}; echo; done"
    )
    config = {
        "source": {"command": [str(monitor)], "period": "1s"},
        "cloudwatch": {"enabled": True, "endpoint_url": endpoint.url, "flush_interval": "2s"},
    }
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with kubelet(tmp_path, *(Given(f"pod-{n}", CORE, [n]) for n in range(32))) as played:
        environment["NEURON_EXPORTER_KUBELET_SOCKET"] = str(played.socket)
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            wait_for(lambda: len(pods(exporter)) == 32)
            wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > 60, 40)
            wait_for(lambda: len(endpoint.requests) > 3)
            megabytes = resident(exporter.process.pid)
            print(f"resident with a kubelet: {megabytes:.1f} MiB")
            assert megabytes <= 92
            assert exporter.stop() == 0
