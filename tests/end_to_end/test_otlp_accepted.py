"""A receiver as strict as CloudWatch accepts everything that the exporter sends over OTLP."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.generate.offline_pipeline import assumed_readings
from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import MetricKind
from neuron_exporter.readings import NO_READINGS, HardwareReadings
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.hardware import SIMULATED_TYPES
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests import captures
from tests.support import difficult_reports, simulated
from tests.support.difficult_reports import ABSURD, AWKWARD, MANY_REPORTS
from tests.support.otlp_front import OtlpFront, Received, otlp_front
from tests.support.otlp_points import MAX_ATTRIBUTES, MAX_BYTES, MAX_POINTS
from tests.support.otlp_publishing import publish_otlp
from tests.support.publishing import PERIOD, Clock, write_simulated
from tests.support.sigv4 import Credentials

PRESETS = ("minimal", "standard", "full")


class Front:
    """A strict receiver and its clock."""

    def __init__(self, strict: OtlpFront, clock: Clock) -> None:
        self.strict = strict
        self.clock = clock

    def sent(
        self,
        path: Path,
        period: float = PERIOD,
        config: Mapping[str, Any] | None = None,
        hardware: HardwareReadings = NO_READINGS,
        **otlp: Any,
    ) -> Sequence[Received]:
        """Publish these reports, check that every request is accepted, and return the requests."""
        settings = {f"otlp.{key}": value for key, value in otlp.items()} | {**(config or {})}
        publish_otlp(self.strict.url, self.clock, path, settings, period, hardware)
        assert self.strict.rejected == []
        requests = self.strict.requests.copy()
        assert requests
        self.strict.requests.clear()
        return requests


@pytest.fixture(scope="module")
def shared() -> Iterator[Front]:
    """Start one receiver for all tests, so that a changed kind or unit of a metric is detected."""
    clock = Clock(time.time() // 60 * 60)
    with otlp_front(clock, credentials=Credentials(), signing_clock=time.time) as started:
        yield Front(started, clock)


@pytest.fixture
def front(shared: Front, fake_credentials: None) -> Front:
    """Return the shared receiver, with credentials for it."""
    return shared


def hardware_names(requests: Sequence[Received]) -> set[str]:
    """Return the names of the metrics that do not describe the exporter itself."""
    own = ("neuron_exporter_", "process_", "python_")
    return {
        point.name
        for request in requests
        for point in request.points
        if not point.name.startswith(own)
    }


def values_of(requests: Sequence[Received], label: str) -> set[str | None]:
    """Return the values of a label of the hardware's series."""
    return {
        point.labels.get(label)
        for request in requests
        for point in request.points
        if point.name == "neuroncore_utilization_ratio"
    }


@pytest.mark.parametrize("instance_type", SIMULATED_TYPES)
def test_presets(tmp_path: Path, front: Front, instance_type: str) -> None:
    reports = write_simulated(tmp_path / "r", MANY_REPORTS, "--instance-type", instance_type)
    hardware = assumed_readings(instance_type)
    for preset in PRESETS:
        selected, _ = select_for_prometheus(preset, [], [])
        known = {row.name for row in selected.rows if row.kind is not MetricKind.DISTRIBUTION}
        found = hardware_names(front.sent(reports, preset=preset, hardware=hardware))
        assert found
        assert found <= known


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenarios(tmp_path: Path, front: Front, scenario: str) -> None:
    for reports in difficult_reports.with_scenario(tmp_path, scenario):
        front.sent(reports)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(tmp_path: Path, front: Front, fault: str) -> None:
    front.sent(difficult_reports.with_fault(tmp_path, fault), interval="10s")


def test_all_faults_at_once(tmp_path: Path, front: Front) -> None:
    for reports in difficult_reports.with_all_faults(tmp_path):
        front.sent(reports, interval="5s")


@pytest.mark.parametrize("capture", captures.all_captures(), ids=lambda path: path.stem)
def test_recorded_machines(tmp_path: Path, front: Front, capture: Path) -> None:
    reports = difficult_reports.recorded(tmp_path, capture)
    for preset in PRESETS:
        front.sent(reports, preset=preset)


@pytest.mark.parametrize("reading", ABSURD)
def test_absurd_values(tmp_path: Path, front: Front, reading: float) -> None:
    """Impossible numbers do not cost the other values of the request."""
    front.sent(difficult_reports.with_absurd_values(tmp_path, reading), interval="5s")


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_identities(tmp_path: Path, front: Front, text: str) -> None:
    reports = difficult_reports.with_awkward_identity(tmp_path, text)
    sent = front.sent(reports, config={"prometheus.runtime_labels": ["runtime_tag"]})
    (name,) = values_of(sent, "instance_name") - {None}
    assert name


def test_many_attributes(tmp_path: Path, front: Front) -> None:
    """The maximum number of labels and resource attributes, of the maximum length."""
    labels = {f"extra_{number}": "v" * 200 for number in range(MAX_ATTRIBUTES // 5)}
    sent = front.sent(
        write_simulated(tmp_path / "r", 14, *simulated.SMALL, "--kubernetes"),
        config={"prometheus.labels": labels},
        resource_attributes={f"a.{number}": "é" * 255 for number in range(50)},
    )
    assert max(len(point.attributes) for each in sent for point in each.points) <= MAX_ATTRIBUTES
    assert {point.labels["extra_0"] for each in sent for point in each.points} == {"v" * 200}
    (resource,) = {point.resource for each in sent for point in each.points}
    assert dict(resource)["a.49"] == "é" * 255


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_large_intervals_are_split(tmp_path: Path, front: Front, compression: str) -> None:
    """By points, and with long labels by bytes."""
    flags = ("--instance-type", "trn2.48xlarge", "--scenario", "mixed", "--runtimes", "64")
    reports = write_simulated(tmp_path / "r", 14, *flags)
    for labels in ({}, {f"extra_{number}": "v" * 200 for number in range(20)}):
        sent = front.sent(reports, config={"prometheus.labels": labels}, compression=compression)
        if labels:
            assert max(each.size for each in sent) > 0.99 * MAX_BYTES
        else:
            assert max(len(each.points) for each in sent) == MAX_POINTS
        assert {each.headers.get("Content-Encoding", "none") for each in sent} == {compression}
        ends = [{point.time for point in each.points} for each in sent]
        assert {len(each) for each in ends} == {1}
        assert max(ends.count(each) for each in ends) > 1


def test_gaps(tmp_path: Path, front: Front) -> None:
    reports = write_simulated(tmp_path / "r", 4, *simulated.SMALL)
    for period in (61.0, 600.0, 4000.0):
        front.sent(reports, period=period)
