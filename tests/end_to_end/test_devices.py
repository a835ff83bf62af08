"""Devices that are missing, or that a container does not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import CREDENTIALS
from tests.support.mounts import own_dev
from tests.support.piped import PipedExporter, piped_exporter
from tests.support.reports import cores, group, memory, report, runtime
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint

UTILIZATION = "neuroncore_utilization_ratio"


def of_devices(count: int, *listed: int, busy: dict[int, float] | None = None) -> dict[str, Any]:
    """Return a report of a trn1.32xlarge that counts and lists these devices."""
    devices = [{"neuron_device_index": index, "mem_ecc_corrected": 0} for index in listed]
    used = cores(**{f"_{core}": percent for core, percent in (busy or {}).items()})
    return report(
        *([runtime(neuroncore_counters=used, memory_used=memory({}))] if busy else []),
        system_data={"neuron_hw_counters": group(neuron_devices=devices)},
        neuron_hardware_info={
            "neuron_device_count": count,
            "neuroncore_per_device_count": 2,
            "error": "",
        },
    )


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
    exporter.send(of_devices(4, 4, 5, 6, 7, busy=dict.fromkeys(range(8, 16), 100)))
    assert utilization(exporter) == dict.fromkeys(range(8, 16), 1.0)
    exporter.send(of_devices(4, 4, 5, 6, 7))
    assert utilization(exporter) == dict.fromkeys(range(8, 16), 0.0)


def test_machine_that_lost_a_device(exporter: PipedExporter) -> None:
    for listed in (range(16), [*range(7), *range(8, 16)]):
        exporter.send(of_devices(len(listed), *listed))
    assert utilization(exporter) == dict.fromkeys([*range(14), *range(16, 32)], 0.0)
    assert exporter.exporter.value("neuron_devices_expected") == 16
    assert exporter.exporter.value("neuron_devices_present") == 15


def values(endpoint: ValidatingEndpoint, name: str) -> dict[float, float]:
    """Return the values of a metric, each with its count."""
    counts: dict[float, float] = {}
    for datum in endpoint.datums(name):
        numbers = datum.get("Values", [datum.get("Value")])
        for value, count in zip(numbers, datum.get("Counts", [1] * len(numbers)), strict=True):
            counts[value] = counts.get(value, 0) + count
    return counts


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
            piped.send(of_devices(1, 3, busy={6: 75, 7: 75}))
            piped.end()
        assert values(endpoint, "NeuronCoreUtilization") == {75: 2}
        assert values(endpoint, "NeuronDevicesPresent") == {1: 1}
        assert values(endpoint, "NeuronDevicesExpected") == {16 if scope == "machine" else 1: 1}
        assert (endpoint.rejected, endpoint.inconsistent) == ([], [])
