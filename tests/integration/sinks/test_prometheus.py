"""Expositions of simulated reports, and of concurrent scrapes."""

from __future__ import annotations

import threading

import pytest

from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests.support.prometheus_samples import EVERYTHING, as_prometheus_client_writes, parsed, scrape
from tests.support.reports import Harness, cores, report, runtime
from tests.support.simulated import snapshots as simulated_snapshots


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", ["inf1.xlarge", "inf2.24xlarge", "trn1.32xlarge"])
def test_simulated_reports_equal_prometheus_client(instance_type: str, scenario: str) -> None:
    snapshot = simulated_snapshots(instance_type, scenario)[-1]
    assert parsed(scrape(snapshot)) == parsed(as_prometheus_client_writes(snapshot))


def test_concurrent_scrapes_see_one_report() -> None:
    sink, harness = PrometheusSink(EVERYTHING), Harness()
    snapshots = []
    for number in range(40):
        busy = [
            runtime(
                pid,
                str(pid),
                neuroncore_counters=cores(**{f"_{c}": float(number) for c in range(4)}),
            )
            for pid in range(1, 2 + number % 3)
        ]
        snapshots.append(harness.collect(report(*busy)).snapshot)
    wrong: list[str] = []

    def scrape() -> None:
        for _ in range(200):
            text = sink.expose(snapshots[0].taken_at.monotonic).decode()
            values = {v for k, v in parsed(text)["neuroncore_utilization_ratio"][2].items()}
            if len(values) != 1:
                wrong.append(text)

    sink.offer(snapshots[0])
    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for snapshot in snapshots:
            sink.offer(snapshot)
    assert not wrong
