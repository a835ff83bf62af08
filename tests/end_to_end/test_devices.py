"""Devices that are missing, or that a container does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fleet import CREDENTIALS
from tests.support.mounts import own_dev
from tests.support.piped import PipedExporter, piped_exporter
from tests.support.reports import report_of_devices
from tests.support.validating_endpoint import validating_endpoint

UTILIZATION = "neuroncore_utilization_ratio"


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[PipedExporter]:
    """Yield an exporter without CloudWatch."""
    with piped_exporter(tmp_path) as piped:
        yield piped


def utilization(exporter: PipedExporter) -> dict[int, float]:
    """Return the utilization by core."""
    return {
        int(core): value for core, value in exporter.by_label(UTILIZATION, "neuroncore").items()
    }


def test_container_with_the_last_devices(exporter: PipedExporter) -> None:
    """It has no cores of other devices, busy or idle."""
    exporter.send(report_of_devices(4, 4, 5, 6, 7, busy=dict.fromkeys(range(8, 16), 100)))
    assert utilization(exporter) == dict.fromkeys(range(8, 16), 1.0)
    exporter.send(report_of_devices(4, 4, 5, 6, 7))
    assert utilization(exporter) == dict.fromkeys(range(8, 16), 0.0)


def test_machine_that_lost_a_device(exporter: PipedExporter) -> None:
    for listed in (range(16), [*range(7), *range(8, 16)]):
        exporter.send(report_of_devices(len(listed), *listed))
    assert utilization(exporter) == dict.fromkeys([*range(14), *range(16, 32)], 0.0)
    assert exporter.exporter.value("neuron_devices_expected") == 16
    assert exporter.exporter.value("neuron_devices_present") == 15


def test_container_with_four_of_sixteen_devices_misses_none(tmp_path: Path) -> None:
    """The driver's devices show that the container has a part of them; it may lose one of these."""
    names = [f"neuron{number}" for number in range(4, 8)]
    (tmp_path / "dev").mkdir()
    within = own_dev(tmp_path / "dev", *names, driver=[f"neuron{each}" for each in range(16)])
    with piped_exporter(tmp_path, within=within) as piped:
        for listed in ((4, 5, 6, 7), (4, 5, 7)):
            piped.send(report_of_devices(len(listed), *listed))
            assert piped.exporter.value("neuron_devices_expected") == 4
            assert piped.exporter.value("neuron_devices_present") == len(listed)
            _, text = piped.exporter.get("/api/v1/snapshot")
            reasons = [each["reason"] for each in json.loads(text)["problems"]]
            assert reasons == ([] if len(listed) == 4 else ["device_missing"])


@pytest.mark.parametrize("scope", ["machine", "task"])
def test_cloudwatch_of_a_container_with_one_device(tmp_path: Path, scope: str) -> None:
    (tmp_path / "dev").mkdir()
    with validating_endpoint() as endpoint:
        cloudwatch = {
            "enabled": True,
            "endpoint_url": endpoint.url,
            "region": "us-east-1",
            "scope": scope,
            "preset": "full",
            "dimension_sets": [["ServiceName"]],
            "extra_dimensions": {"ServiceName": "training"},
        }
        with piped_exporter(
            tmp_path,
            {"cloudwatch": cloudwatch},
            environment=CREDENTIALS,
            within=own_dev(tmp_path / "dev", "neuron3"),
        ) as piped:
            piped.send(report_of_devices(1, 3, busy={6: 75, 7: 75}))
            piped.end()
        assert endpoint.values("NeuronCoreUtilization") == {75: 2}
        assert endpoint.values("NeuronDevicesPresent") == {1: 1}
        assert endpoint.values("NeuronDevicesExpected") == {16 if scope == "machine" else 1: 1}
        assert (endpoint.rejected, endpoint.inconsistent) == ([], [])
