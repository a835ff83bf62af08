"""A running exporter with a kubelet: owners of cores, and failures."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.owners.lookup import REFRESH_INTERVAL
from neuron_exporter.metrics.series_cache import OWNER_WAIT
from tests.support.children import script
from tests.support.endpoint import Endpoint
from tests.support.exporter import SIMULATOR, RunningExporter, running_exporter
from tests.support.kubelet import (
    CORE,
    KubeletServer,
    PodClaim,
    PodResource,
    kubelet_server,
    listening,
)
from tests.support.kubernetes_api import kubernetes_api
from tests.support.mounts import own_service_account
from tests.support.processes import resident
from tests.support.reports import INSTANCE
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for

CORES = 64
PERIOD = 1.0
LOOKUPS = 2
"""Lookups after which a scrape shows a change, with a report between two lookups."""

BUSY = "neuroncore_utilization_ratio"
LAST_REPORT = "neuron_exporter_last_report_timestamp_seconds"


def source(folder: Path) -> dict[str, Any]:
    """Return a source for an idle machine with 64 cores on 16 devices."""
    counters = dict.fromkeys(
        ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_corrected", "sram_ecc_uncorrected"),
        0,
    )
    devices = [{"neuron_device_index": index, **counters} for index in range(16)]
    report = {
        "neuron_runtime_data": [],
        "system_data": {
            "neuron_hw_counters": {"period": PERIOD, "neuron_devices": devices, "error": ""}
        },
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


def running(folder: Path, socket: Path) -> Any:
    """Run the exporter with the kubelet at this socket."""
    environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(socket)}
    return running_exporter(folder, {"source": source(folder)}, environment=environment)


def pods(exporter: RunningExporter) -> dict[int, str]:
    """Return the pod of each core that has one, from a scrape."""
    family = exporter.families().get(BUSY)
    return {
        int(sample.labels["neuroncore"]): sample.labels["pod"]
        for sample in (family.samples if family else ())
        if "pod" in sample.labels
    }


class Churn:
    """Pods that start and stop on 64 cores, with the history of their allocations."""

    def __init__(self, kubelet: KubeletServer, seed: int) -> None:
        self._rng = random.Random(seed)
        self._kubelet = kubelet
        self._pods: dict[int, str] = {}
        self.history: list[tuple[int, Mapping[int, str]]] = []
        """Each allocation with the number of lookups before it."""
        self._number = 0
        self.advance()

    def advance(self) -> None:
        """Stop some pods and start others."""
        for pod in {*self._pods.values()}:
            if self._rng.random() < 0.4:
                self._pods = {core: other for core, other in self._pods.items() if other != pod}
        free = [core for core in range(CORES) if core not in self._pods]
        self._rng.shuffle(free)
        while len(free) > 12:
            self._number += 1
            cores, free = free[:8], free[8:]
            self._pods |= dict.fromkeys(cores, f"pod-{self._number}")
        by_pod: dict[str, list[int]] = {}
        for core, pod in self._pods.items():
            by_pod.setdefault(pod, []).append(core)
        self.history.append((self._kubelet.calls, dict(self._pods)))
        self._kubelet.allocated = [PodResource(pod, CORE, ids) for pod, ids in by_pod.items()]

    def since(self, lookup: int) -> list[Mapping[int, str]]:
        """Return the allocations that this lookup or a later one may have returned."""
        before = [allocation for number, allocation in self.history if number < lookup]
        return before[-1:] + [each for number, each in self.history if number >= lookup]


@pytest.mark.usefixtures("needs_prometheus")
def test_every_scrape_shows_current_pods(tmp_path: Path) -> None:
    """A scrape shows only pods that had the core at one of the last lookups, and a changed owner
    after so many lookups."""
    with kubelet_server(tmp_path) as kubelet:
        churn = Churn(kubelet, seed=20)
        with running(tmp_path, kubelet.socket) as exporter:
            wait_for(lambda: pods(exporter) == churn.history[-1][1])
            scrapes = 0
            while len(churn.history) <= 4:
                lookups = kubelet.calls
                shown = pods(exporter)
                valid = churn.since(lookups - LOOKUPS)
                wrong = {
                    core: pod
                    for core, pod in shown.items()
                    if pod not in {allocation.get(core) for allocation in valid}
                }
                missing = {
                    core
                    for core in range(CORES)
                    if core not in shown and all(core in allocation for allocation in valid)
                }
                assert (wrong, missing) == ({}, set()), valid
                scrapes += 1
                if kubelet.calls > churn.history[-1][0]:
                    churn.advance()
                time.sleep(0.1)
            assert scrapes > 10
            with prometheus_server(tmp_path, exporter.url.removeprefix("http://")) as server:
                allocation = churn.history[-1][1]

                def of_prometheus() -> dict[int, str]:
                    found = server.query(f'{BUSY}{{namespace="ml", container="main"}}')
                    return {int(e["metric"]["neuroncore"]): e["metric"]["pod"] for e in found}

                wait_for(lambda: of_prometheus() == allocation)
                (idle,) = server.query(f"count(neuroncore_allocated == 1 and {BUSY} == 0)")
                assert int(idle["value"][1]) == len(allocation)
            assert exporter.stop() == 0


def test_late_and_restarted_kubelet(tmp_path: Path) -> None:
    """Labels appear with the kubelet, survive its restart, and disappear if it stays away."""
    kubelet = KubeletServer(tmp_path / "kubelet.sock")
    kubelet.allocated = [PodResource("train", CORE, range(CORES))]
    with running(tmp_path, kubelet.socket) as exporter:
        exporter.wait_for_event("owner_lookup", provider="kubelet")
        wait_for(lambda: exporter.value(BUSY, neuroncore="0") == 0)
        assert pods(exporter) == {}
        assert exporter.value("neuroncore_allocated", neuroncore="0") is None
        with listening(kubelet):
            wait_for(lambda: len(pods(exporter)) == CORES)
        with listening(kubelet):
            calls = kubelet.calls
            wait_for(lambda: kubelet.calls > calls or pods(exporter) == {})
            assert len(pods(exporter)) == CORES
        wait_for(lambda: pods(exporter) == {}, 3 * REFRESH_INTERVAL + 60)
        assert exporter.value("neuroncore_allocated", neuroncore="0") is None
        results = {event["result"] for event in exporter.events("owner_lookup")}
        assert len(exporter.events("owner_lookup")) <= 2 * len(results) + 2, "logged on change only"
        assert exporter.stop() == 0


def owners(exporter: RunningExporter, metric: str, label: str) -> dict[int, tuple[str, ...]]:
    """Return namespace, pod and container of every core or device, from a scrape."""
    family = exporter.families().get(metric)
    return {
        int(sample.labels[label]): tuple(
            sample.labels.get(name, "") for name in ("namespace", "pod", "container")
        )
        for sample in (family.samples if family else ())
    }


def allocated(exporter: RunningExporter) -> dict[int, float]:
    """Return `neuroncore_allocated` of every core, from a scrape."""
    family = exporter.families().get("neuroncore_allocated")
    return {
        int(sample.labels["neuroncore"]): sample.value
        for sample in (family.samples if family else ())
    }


def test_claimed_devices(tmp_path: Path) -> None:
    """Claimed devices and their cores have the pod, also if its containers share the claim, and
    devices that no pod claimed keep their series."""
    shared = PodClaim("train", ["neuron-device-0", "neuron-device-10"], containers=("a", "b"))
    alone = PodClaim("infer", ["neurondevice2"])
    devices = {0: ("ml", "train", ""), 10: ("ml", "train", ""), 2: ("ml", "infer", "main")}
    cores = {device * 4 + core: owner for device, owner in devices.items() for core in range(4)}
    no_owner = ("", "", "")
    with (
        kubelet_server(tmp_path, shared, alone) as kubelet,
        running(tmp_path, kubelet.socket) as exporter,
    ):
        wait_for(lambda: len(pods(exporter)) == len(cores))
        assert owners(exporter, BUSY, "neuroncore") == {
            core: cores.get(core, no_owner) for core in range(CORES)
        }
        assert owners(exporter, "neurondevice_ecc_reading", "neuron_device_index") == {
            device: devices.get(device, no_owner) for device in range(16)
        }
        assert allocated(exporter) == {core: float(core in cores) for core in range(CORES)}
        kubelet.allocated = [shared, alone, PodClaim("node", ["neuron-node-0"])]
        wait_for(lambda: allocated(exporter) == {}, 3 * REFRESH_INTERVAL + 60)
        assert owners(exporter, BUSY, "neuroncore") == {
            core: cores.get(core, no_owner) for core in range(CORES)
        }
        unknown = "neuron.aws.com 'neuron-node-0' is not supported"
        exporter.wait_for_event("owner_lookup", provider="kubelet", result=unknown)
        assert len(exporter.events("owner_lookup")) <= 4, "each result is logged once"
        assert exporter.stop() == 0


def test_process_that_outlives_its_pod(tmp_path: Path) -> None:
    """Its core is free, then the next pod's, and the process has neither pod."""
    simulator = [*SIMULATOR, "--instance-type", "trn1.2xlarge", "--runtimes", "2"]
    config = {
        "source": {"command": simulator, "period": "1s"},
        "prometheus": {"preset": "standard"},
    }
    gone, other, following = (
        PodResource(pod, CORE, [core]) for pod, core in (("gone", 0), ("other", 1), ("next", 0))
    )

    def shown() -> list[dict[str, tuple[str | None, float]]]:
        families = exporter.families()
        return [
            {
                sample.labels["neuroncore"]: (sample.labels.get("pod"), sample.value)
                for sample in (families[name].samples if name in families else ())
            }
            for name in ("neuroncore_runtime_info", "neuroncore_allocated")
        ]

    with kubelet_server(tmp_path, gone, other) as kubelet:
        kubelet.allocatable = {CORE: [0, 1]}
        environment = {"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)}
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            owned = {"0": ("gone", 1.0), "1": ("other", 1.0)}
            wait_for(lambda: shown() == [owned, owned])
            seen = time.time()
            # Until then, the process could be the next pod's, whose core the kubelet reports late.
            wait_for(lambda: (exporter.value(LAST_REPORT) or 0.0) > seen + OWNER_WAIT)
            kubelet.allocated = [other]
            left = {"0": (None, 1.0), "1": ("other", 1.0)}
            wait_for(lambda: shown() == [left, {**left, "0": (None, 0.0)}])
            kubelet.allocated = [other, following]
            wait_for(lambda: shown() == [left, {**left, "0": ("next", 1.0)}])
            assert exporter.stop() == 0


def test_pod_labels_of_a_partly_understood_allocation(tmp_path: Path) -> None:
    """Labels of pods do not make cores look free that an unknown claim may hold."""
    account = tmp_path / "account"
    account.mkdir()
    claims = PodClaim("train", ["neuron-device-0"]), PodClaim("other", ["neuron-node-0"])
    with kubernetes_api(account) as api, kubelet_server(tmp_path, *claims) as kubelet:
        api.labels["train"] = {"team": "vision"}
        host, _, port = api.address.partition(":")
        environment = {
            "NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket),
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
        }
        config = {"source": source(tmp_path), "identity": {"pod_labels": ["team"]}}
        within = own_service_account(account)
        with running_exporter(tmp_path, config, environment=environment, within=within) as exporter:
            wait_for(lambda: exporter.value(BUSY, neuroncore="0", label_team="vision") == 0)
            assert allocated(exporter) == {}
            kubelet.allocated = claims[:1]
            wait_for(lambda: len(allocated(exporter)) == CORES)
            assert allocated(exporter) == {core: float(core < 4) for core in range(CORES)}
            assert exporter.stop() == 0


def test_hanging_kubelet(tmp_path: Path) -> None:
    """Scrapes and shutdown do not wait for the kubelet."""
    with kubelet_server(tmp_path, PodResource("train", CORE, [0])) as kubelet:
        kubelet.hangs = True
        with running(tmp_path, kubelet.socket) as exporter:
            exporter.wait_for_event("owner_lookup", provider="kubelet")
            wait_for(lambda: exporter.value(BUSY, neuroncore="0") == 0)
            calls = kubelet.calls
            for _ in range(20):
                assert pods(exporter) == {}
            assert kubelet.calls - calls < 20, "scrapes do not wait for lookups"
            assert exporter.stop() == 0


def test_memory_with_a_kubelet(
    tmp_path: Path, endpoint: Endpoint, thirty_two_runtimes: Path
) -> None:
    monitor = script(
        tmp_path / "monitor", f"while sleep 0.2; do cat {thirty_two_runtimes}; echo; done"
    )
    config = {
        "source": {"command": [str(monitor)], "period": "1s"},
        "cloudwatch": {"enabled": True, "endpoint_url": endpoint.url, "flush_interval": "2s"},
    }
    environment = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    with kubelet_server(
        tmp_path, *(PodResource(f"pod-{n}", CORE, [n]) for n in range(32))
    ) as kubelet:
        environment["NEURON_EXPORTER_KUBELET_SOCKET"] = str(kubelet.socket)
        with running_exporter(tmp_path, config, environment=environment) as exporter:
            wait_for(lambda: len(pods(exporter)) == 32)
            wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) > 60)
            wait_for(lambda: len(endpoint.requests) > 3)
            megabytes = resident(exporter.process.pid)
            print(f"resident with a kubelet: {megabytes:.1f} MiB")
            assert megabytes <= 70
            assert exporter.stop() == 0
