"""Reloads that change what the sinks publish and the requested groups; all sums stay exact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import child, script
from tests.support.endpoint import Endpoint, cloudwatch_endpoint
from tests.support.exporter import running_exporter, simulated, write_config
from tests.support.processes import children_of
from tests.support.reloading import CREDENTIALS, TOTALS, fed, reloaded, send_sighup
from tests.support.simulated import SMALL
from tests.support.waiting import wait_for


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """Start an HTTP server in CloudWatch's place that keeps the requests."""
    with cloudwatch_endpoint() as running:
        yield running


def sums(endpoint: Endpoint, metric: str) -> dict[tuple[str, ...], float]:
    """Return the sum of a metric by the names of its dimensions."""
    found: dict[tuple[str, ...], float] = {}
    for datum in endpoint.datums(metric):
        names = tuple(each["Name"] for each in datum["Dimensions"])
        found[names] = found.get(names, 0.0) + datum["Value"]
    return found


def test_added_dimension_set(tmp_path: Path, endpoint: Endpoint) -> None:
    """The old set stays exact; the new set, and a new metric, begin at the reload."""
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
        send_sighup(run.exporter)
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


def test_raised_budget(tmp_path: Path, endpoint: Endpoint) -> None:
    settings = {"enabled": True, "endpoint_url": endpoint.url, "flush_interval": "1s"}
    config = {"source": simulated(*SMALL)}
    name = "neuron_exporter_cloudwatch_metrics"
    with running_exporter(
        tmp_path,
        {**config, "cloudwatch": {**settings, "budget": {"max_metrics": 3}}},
        environment=CREDENTIALS,
    ) as exporter:
        wait_for(lambda: exporter.value(name) == 3)
        write_config(tmp_path, {**config, "cloudwatch": settings})
        send_sighup(exporter)
        assert reloaded(exporter) == ["cloudwatch.budget.max_metrics"]
        wait_for(lambda: exporter.value(name) == 10)


def test_new_doubtful_settings_are_logged(tmp_path: Path, endpoint: Endpoint) -> None:
    """A setting that was logged before is not logged again, though its line has moved."""
    cloudwatch = {
        "enabled": True,
        "endpoint_url": endpoint.url,
        "extra_dimensions": {"InstanceId": "foo"},
    }
    with fed(tmp_path, cloudwatch=cloudwatch) as run:
        run.exporter.wait_for_event("setting_doubtful")
        run.write(cloudwatch={"budget": {"max_metrics": 5}, **cloudwatch})
        send_sighup(run.exporter)
        assert reloaded(run.exporter) == ["cloudwatch.budget.max_metrics"]
        wait_for(lambda: len(run.exporter.events("setting_doubtful")) >= 2)
        send_sighup(run.exporter)
        assert reloaded(run.exporter, 2) == []
        run.exporter.stop()
        logged = [event["setting"] for event in run.exporter.events("setting_doubtful")]
    assert [line.split(": ")[1] for line in logged] == [
        "cloudwatch.extra_dimensions.InstanceId",
        "cloudwatch.budget",
    ]


def test_new_group_restarts_the_child_once(tmp_path: Path) -> None:
    """A change that needs no new group leaves the child alone."""
    configurations = tmp_path / "configurations"
    configurations.mkdir()
    steps = " ".join(child("report", "sleep=1", "again"))
    monitor = script(tmp_path / "monitor", f'cp "$2" {configurations}/$$; exec {steps} "$@"')
    config = {"source": {"command": [str(monitor)], "period": "1s"}}
    without = {"exclude": ["neuron_runtime_vcpu*"]}

    def groups() -> list[bool]:
        files = sorted(configurations.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return ["neuron_runtime_vcpu_usage" in path.read_text() for path in files]

    def counted() -> bool:
        read = exporter.value("neuron_exporter_reports_total") or 0
        done = exporter.value(TOTALS, status_type="completed") or 0
        return done == 3 * read and read > more

    with running_exporter(tmp_path, {**config, "prometheus": without}) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        (first,) = children_of(exporter.process.pid)
        write_config(
            tmp_path,
            {**config, "prometheus": {"exclude": ["neuron_runtime_vcpu*", "system_swap*"]}},
        )
        send_sighup(exporter)
        reloaded(exporter)
        more = (exporter.value("neuron_exporter_reports_total") or 0) + 2
        wait_for(counted)
        assert children_of(exporter.process.pid) == [first]

        write_config(tmp_path, config)
        send_sighup(exporter)
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
