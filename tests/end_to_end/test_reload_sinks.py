"""What is published and asked for changes while the exporter runs; every sum stays exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import child, script
from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.exporter import running_exporter, simulated, write_config
from tests.support.processes import children_of
from tests.support.reloading import CREDENTIALS, TOTALS, fed, hang_up, reloaded
from tests.support.simulated import SMALL
from tests.support.waiting import wait_for


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A place for CloudWatch that keeps what it is sent."""
    with cloudwatch_endpoint() as running:
        yield running


def sums(endpoint: Endpoint, metric: str) -> dict[tuple[str, ...], float]:
    """The sum of a metric with one value a window, by the names of its dimensions."""
    found: dict[tuple[str, ...], float] = {}
    for datum in endpoint.datums(metric):
        names = tuple(each["Name"] for each in datum["Dimensions"])
        found[names] = found.get(names, 0.0) + datum["Value"]
    return found


def test_a_dimension_set_is_added_while_running(tmp_path: Path, endpoint: Endpoint) -> None:
    """What the old set says is exact through the reload; the new one begins where it was added, and
    a metric that is added begins there, too."""
    machine, kind = ("InstanceId", "InstanceType"), ("InstanceType",)
    first: Mapping[str, Any] = {
        "enabled": True,
        "endpoint_url": endpoint.url,
        "flush_interval": "1s",
        "include": [],
        "exclude": ["ExecutionErrors"],
        "dimension_sets": [list(machine)],
    }
    with fed(tmp_path, cloudwatch=dict(first)) as run:
        run.feed(5)
        wait_for(lambda: sums(endpoint, "ExecutionsCompleted").get(machine) == run.completed)
        before = run.completed
        sets = [list(machine), list(kind)]
        run.write(cloudwatch={**first, "exclude": [], "dimension_sets": sets})
        hang_up(run.exporter)
        assert sorted(reloaded(run.exporter)) == [
            "cloudwatch.dimension_sets",
            "cloudwatch.exclude",
        ]
        wait_for(lambda: kind in sums(endpoint, "ExporterHeartbeat"))
        run.feed(5)
        run.end()
    found = sums(endpoint, "ExecutionsCompleted")
    assert found == {machine: run.completed, kind: run.completed - before}
    assert sums(endpoint, "ExecutionErrors").keys() == {machine, kind}
    stamps = [
        (datum["Timestamp"], len(datum["Dimensions"]))
        for datum in endpoint.datums("ExecutionsCompleted")
    ]
    assert len(stamps) == len(set(stamps))


def test_a_budget_is_changed_while_running(tmp_path: Path, endpoint: Endpoint) -> None:
    """More metrics are published as soon as they are allowed."""
    settings = {"enabled": True, "endpoint_url": endpoint.url, "flush_interval": "1s"}
    config = {"source": simulated(*SMALL)}
    shown = "neuron_exporter_cloudwatch_metrics"
    with running_exporter(
        tmp_path,
        {**config, "cloudwatch": {**settings, "budget": {"max_metrics": 3}}},
        environment=CREDENTIALS,
    ) as exporter:
        wait_for(lambda: exporter.value(shown) == 3)
        write_config(tmp_path, {**config, "cloudwatch": settings})
        hang_up(exporter)
        assert reloaded(exporter) == ["cloudwatch.budget.max_metrics"]
        wait_for(lambda: exporter.value(shown) == 10)


def test_another_group_starts_the_child_again_once(tmp_path: Path) -> None:
    """neuron-monitor is asked for what is selected newly, right after a report; what was counted
    goes on, and a change that needs no other group leaves it alone."""
    asked = tmp_path / "asked"
    asked.mkdir()
    steps = " ".join(child("report", "sleep=1", "again"))
    monitor = script(tmp_path / "monitor", f'cp "$2" {asked}/$$; exec {steps} "$@"')
    config = {"source": {"command": [str(monitor)], "period": "1s"}}
    without = {"exclude": ["*ecc*"]}

    def groups() -> list[bool]:
        files = sorted(asked.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return ["neuron_hw_counters" in path.read_text() for path in files]

    def counted() -> bool:
        read = exporter.value("neuron_exporter_reports_total") or 0
        done = exporter.value(TOTALS, status_type="completed") or 0
        return done == 3 * read and read > more

    with running_exporter(tmp_path, {**config, "prometheus": without}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        (first,) = children_of(exporter.process.pid)
        write_config(tmp_path, {**config, "prometheus": {"exclude": ["*ecc*", "system_swap*"]}})
        hang_up(exporter)
        reloaded(exporter)
        more = (exporter.value("neuron_exporter_reports_total") or 0) + 2
        wait_for(counted)
        assert children_of(exporter.process.pid) == [first]

        write_config(tmp_path, config)
        hang_up(exporter)
        reloaded(exporter, 2)
        restarts = "neuron_exporter_source_restarts_total"
        exporter.wait_for_value(restarts, 1, reason="reconfigured")
        more = (exporter.value("neuron_exporter_reports_total") or 0) + 2
        wait_for(counted)
        assert groups() == [False, True]
        assert exporter.value(restarts, reason="reconfigured") == 1
        assert exporter.value("neuron_exporter_up") == 1
        assert [event["state"] for event in exporter.events("source_state")] == ["ok"]
        assert exporter.stop() == 0
