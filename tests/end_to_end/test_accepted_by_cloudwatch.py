"""Everything that the exporter sends is accepted by a CloudWatch as strict as AWS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import Override, load
from neuron_exporter.generate.dry_run import dry_run
from neuron_exporter.generate.offline_pipeline import assumed_readings
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.hardware import SIMULATED_TYPES
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests import captures
from tests.support import difficult_reports, simulated
from tests.support.difficult_reports import ABSURD, AWKWARD, MANY_REPORTS
from tests.support.publishing import PERIOD, Clock, publish, write_simulated
from tests.support.put_requests import connected
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint

PRESETS = ("minimal", "standard", "full")
SETS = [["InstanceId", "InstanceType"], ["InstanceType", "Region"]]


class Front:
    """A strict CloudWatch and its clock."""

    def __init__(self, strict: ValidatingEndpoint, clock: Clock) -> None:
        self.strict = strict
        self.clock = clock

    def sent(
        self,
        path: Path,
        period: float = PERIOD,
        config: Mapping[str, Any] | None = None,
        hardware: HardwareReadings = NO_READINGS,
        **cloudwatch: Any,
    ) -> list[dict[str, Any]]:
        """Publish these reports, check that every request is accepted, and return the requests."""
        before = len(self.strict.requests)
        settings = {f"cloudwatch.{key}": value for key, value in cloudwatch.items()}
        settings |= config or {}
        publish(self.strict.url, self.clock, path, settings, period, hardware)
        assert self.strict.rejected == []
        assert self.strict.inconsistent == []
        requests = self.strict.requests[before:]
        assert requests
        return requests


@pytest.fixture(scope="module")
def shared() -> Iterator[Front]:
    """Start one CloudWatch for all tests, so that a changed unit of a metric is detected."""
    clock = Clock(time.time() // 60 * 60)
    with validating_endpoint(clock=clock) as started:
        yield Front(started, clock)


@pytest.fixture
def front(shared: Front, monkeypatch: pytest.MonkeyPatch) -> Front:
    """Return the shared CloudWatch, with credentials for it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return shared


def by_set(requests: list[dict[str, Any]]) -> dict[tuple[str, ...], set[str]]:
    """Return the metric names of each dimension set."""
    found: dict[tuple[str, ...], set[str]] = {}
    for request in requests:
        for datum in request["MetricData"]:
            names = tuple(each["Name"] for each in datum["Dimensions"])
            found.setdefault(names, set()).add(datum["MetricName"])
    return found


def values_of(requests: list[dict[str, Any]], dimension: str) -> set[str]:
    """Return the values of a dimension."""
    return {
        each["Value"]
        for request in requests
        for datum in request["MetricData"]
        for each in datum["Dimensions"]
        if each["Name"] == dimension
    }


def metric_key(metric: dict[str, Any]) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return what identifies a metric: its name and dimensions."""
    dimensions = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
    return metric["MetricName"], dimensions


@pytest.mark.parametrize("instance_type", SIMULATED_TYPES)
def test_requests_match_the_dry_run(tmp_path: Path, front: Front, instance_type: str) -> None:
    reports = write_simulated(tmp_path / "r", MANY_REPORTS, "--instance-type", instance_type)
    for preset in PRESETS:
        chosen = [
            Override("test", "cloudwatch.preset", preset),
            Override("test", "cloudwatch.dimension_sets", SETS),
            Override("test", "cloudwatch.budget.max_metrics", None),
        ]
        result = dry_run(
            lambda flags, chosen=chosen: load(None, {}, [*chosen, *flags]),
            instance_type=instance_type,
        )
        hardware = assumed_readings(instance_type)
        sent = front.sent(reports, preset=preset, dimension_sets=SETS, hardware=hardware)
        assert {each.dimensions: set(each.metrics) for each in result.sets} == by_set(sent)
        assert result.metrics == sum(map(len, by_set(sent).values()))
        assert [each.shared for each in result.sets] == [False, True]
        stamps = [request["MetricData"][0]["Timestamp"] for request in sent]
        assert result.requests_per_window == max(map(stamps.count, stamps))
        if preset == "standard":
            assert len(set(stamps)) == len(stamps) > 2


@pytest.mark.parametrize("instance_type", [t for t in SIMULATED_TYPES if not t.startswith("inf1")])
def test_sets_by_pod_match_the_dry_run(tmp_path: Path, front: Front, instance_type: str) -> None:
    """With and without a budget that drops some metrics."""
    flags = ("--instance-type", instance_type, "--kubernetes")
    reports = write_simulated(tmp_path / "r", MANY_REPORTS, *flags)
    sets = [["InstanceId"], ["Region", "Namespace", "PodName"]]
    for max_metrics in (None, 12):
        settings = {
            "cloudwatch.preset": "standard",
            "cloudwatch.dimension_sets": sets,
            "cloudwatch.budget.max_metrics": max_metrics,
        }
        chosen = [Override("test", key, value) for key, value in settings.items()]
        result = dry_run(
            lambda flags, chosen=chosen: load(None, {}, [*chosen, *flags]),
            instance_type=instance_type,
        )
        sent = front.sent(reports, config=settings)
        metrics = {metric_key(datum) for request in sent for datum in request["MetricData"]}
        assert result.metrics == len(metrics)
        assert {each.dimensions: set(each.metrics) for each in result.sets} == by_set(sent)
        assert len(metrics) > 12 if max_metrics is None else len(metrics) <= max_metrics


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenarios(tmp_path: Path, front: Front, scenario: str) -> None:
    for reports in difficult_reports.with_scenario(tmp_path, scenario):
        front.sent(reports, preset="full")


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(tmp_path: Path, front: Front, fault: str) -> None:
    front.sent(difficult_reports.with_fault(tmp_path, fault), preset="full")


def test_all_faults_at_once(tmp_path: Path, front: Front) -> None:
    for reports in difficult_reports.with_all_faults(tmp_path):
        front.sent(reports, preset="full")


@pytest.mark.parametrize("capture", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_machines(tmp_path: Path, front: Front, capture: Path) -> None:
    reports = difficult_reports.recorded(tmp_path, capture)
    for preset in PRESETS:
        front.sent(reports, preset=preset)


@pytest.mark.parametrize("reading", ABSURD)
def test_absurd_values(tmp_path: Path, front: Front, reading: float) -> None:
    """Impossible numbers do not cost the other values of the request."""
    front.sent(difficult_reports.with_absurd_values(tmp_path, reading), preset="full")


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_identities(tmp_path: Path, front: Front, text: str) -> None:
    reports = difficult_reports.with_awkward_identity(tmp_path, text)
    sets = [["InstanceName", "AvailabilityZone", "SubnetId"], ["UltraServerId"]]
    sent = front.sent(reports, dimension_sets=sets)
    assert list(by_set(sent)) == [tuple(names) for names in sets]


def test_many_dimensions(tmp_path: Path, front: Front) -> None:
    """The maximum number and length of dimensions, in sets of every kind."""
    extra = {"n" * 255: "v" * 1024, **{f"{n}:# ,/": f" :{n} " for n in range(26)}}
    config = {
        "cloudwatch.dimension_sets": [
            ["InstanceId", "InstanceType", "Region"],
            ["InstanceType", "ClusterName"],
            ["AutoScalingGroupName"],
            ["0:# ,/"],
        ],
        "cloudwatch.extra_dimensions": extra,
        "identity.cluster": "größer " * 300,
        "identity.auto_scaling_group": " : ",
    }
    reports = write_simulated(tmp_path / "r", 14, *simulated.SMALL)
    sent = front.sent(reports, preset="full", namespace="A-z0.9_/#: x", config=config)
    assert max(map(len, by_set(sent))) == 30
    assert len(by_set(sent)) == 4
    (cluster,) = values_of(sent, "ClusterName")
    assert len(cluster) == 1024


def test_many_dimension_sets(tmp_path: Path, front: Front) -> None:
    """More than 1,000 datums are split over several requests."""
    fields = ["InstanceId", "InstanceType", "Region", "AvailabilityZone", "SubnetId"]
    sets = [names for size in range(1, 6) for names in combinations(fields, size)]
    reports = write_simulated(tmp_path / "r", 14, *simulated.SMALL, "--scenario", "mixed")
    sent = front.sent(reports, preset="full", dimension_sets=[list(names) for names in sets])
    assert set(by_set(sent)) == set(sets)
    assert max(len(request["MetricData"]) for request in sent) == 1000


def test_large_windows_are_split(tmp_path: Path, front: Front) -> None:
    flags = ("--instance-type", "trn2.48xlarge", "--scenario", "mixed")
    sets = [["InstanceId"], ["InstanceType"], ["Region"], ["AvailabilityZone"], ["SubnetId"]]
    sent = front.sent(
        write_simulated(tmp_path / "r", 240, *flags),
        period=15,
        preset="full",
        flush_interval="1h",
        dimension_sets=sets,
    )
    sizes = [len(json.dumps(request)) for request in sent]
    assert max(sizes) > 900_000
    stamps = [request["MetricData"][0]["Timestamp"] for request in sent]
    assert max(map(stamps.count, stamps)) > 1


def test_gaps_and_clock_changes(tmp_path: Path, front: Front) -> None:
    reports = write_simulated(tmp_path / "r", 4, *simulated.SMALL)
    for period in (61.0, 600.0, 4000.0, -30.0):
        front.sent(reports, period=period, preset="full")


def test_moto_returns_the_sent_metrics(tmp_path: Path, front: Front, moto: str) -> None:
    # moto keeps an object for each execution, and compares all with all.
    flags = (*simulated.SMALL, "--scenario", "idle", "--runtimes", "2")
    reports = write_simulated(tmp_path / "r", 14, *flags)
    with (
        validating_endpoint(moto, front.clock) as before_moto,
        connected(before_moto.url) as client,
    ):
        sent = Front(before_moto, front.clock).sent(
            reports,
            preset="full",
            namespace="Accepted",
            dimension_sets=SETS,
        )
        pages = client.get_paginator("list_metrics").paginate(Namespace="Accepted")
        listed = [metric for page in pages for metric in page["Metrics"]]
    assert {metric_key(each) for each in listed} == {
        metric_key(datum) for request in sent for datum in request["MetricData"]
    }
