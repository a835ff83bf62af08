"""Errors in the kernel's log belong to the devices of the reports."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from neuron_exporter.facts.kernel_log import ERROR_TYPES
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.model import Machine, Owners, Timestamp
from neuron_exporter.readings import HardwareReadings
from tests.support.reports import Samples, decode_document, report_of_devices

METRIC = "neurondevice_kernel_errors_total"


def samples(
    devices: list[int],
    errors: Mapping[int, Mapping[str, int]] | None,
    own: frozenset[int] = frozenset(),
) -> Samples:
    """Return the samples of a report of these devices in a container with the devices `own`."""
    collector = Collector(CATALOGUE, Counters(), ReportPeriod(5.0), present_devices=lambda: own)
    hardware = HardwareReadings({}, errors)
    at = Timestamp(1_700_000_000, 5.0)
    document = decode_document(report_of_devices(len(devices), *devices))
    return Samples(collector.collect(document, at, Machine(), Owners(), hardware).snapshot)


def test_known_types_start_at_0() -> None:
    """So that the first error is a rise. A type that is not known begins with its first error."""
    found = samples([0, 1], {1: {"DMA_ERROR": 2, "NEW_ERROR": 1}})
    for error_type in ERROR_TYPES:
        expected = 2 if error_type == "DMA_ERROR" else 0
        assert found.value(METRIC, "1", error_type) == expected
        assert found.value(METRIC, "0", error_type) == 0
    assert found.value(METRIC, "1", "NEW_ERROR") == 1


def test_log_is_not_read() -> None:
    assert samples([0], None).values(METRIC) == {}


def test_device_that_reports_do_not_list() -> None:
    """The log names all devices of the machine, and programs can invent some."""
    found = samples([0], {7: {"DMA_ERROR": 1}})
    assert {device for device, _ in found.values(METRIC)} == {"0"}


@pytest.mark.parametrize(
    ("devices", "own", "error_device"),
    [
        ([0, 1, 2, 3], {4, 5, 6, 7}, 2),
        ([0, 1, 2, 3], {4, 5, 6, 7}, 5),
        ([0, 1], {1, 2}, 1),  # it may be device 0 of the reports
        ([0, 1], {1, 2}, None),
    ],
)
def test_container_whose_devices_are_numbered_from_0(
    devices: list[int], own: set[int], error_device: int | None
) -> None:
    """Which of its devices the log means is not known, nor that they have no errors."""
    errors = {} if error_device is None else {error_device: {"DMA_ERROR": 1}}
    assert samples(devices, errors, frozenset(own)).values(METRIC) == {}


def test_container_whose_devices_are_numbered_as_in_dev() -> None:
    found = samples([4, 5], {5: {"DMA_ERROR": 1}, 9: {"DMA_ERROR": 1}}, frozenset({4, 5}))
    assert found.value(METRIC, "5", "DMA_ERROR") == 1
    assert {device for device, _ in found.values(METRIC)} == {"4", "5"}


def test_a_lost_device_keeps_its_errors() -> None:
    collector = Collector(CATALOGUE, Counters(), ReportPeriod(5.0))
    hardware = HardwareReadings({}, {1: {"DMA_ERROR": 1}})
    for second, devices in enumerate(([0, 1], [0])):
        document = decode_document(report_of_devices(2, *devices))
        at = Timestamp(1_700_000_000 + second, second)
        result = collector.collect(document, at, Machine(), Owners(), hardware)
    assert Samples(result.snapshot).value(METRIC, "1", "DMA_ERROR") == 1


def test_own_devices_are_looked_up_once_per_report() -> None:
    """Each look lists /dev."""
    calls = []

    def present() -> frozenset[int]:
        calls.append(1)
        return frozenset(range(16))

    collector = Collector(CATALOGUE, Counters(), ReportPeriod(5.0), present_devices=present)
    document = decode_document(report_of_devices(16, *range(16)))
    hardware = HardwareReadings({}, {5: {"DMA_ERROR": 1}})
    collector.collect(document, Timestamp(1_700_000_000, 5.0), Machine(), Owners(), hardware)
    assert len(calls) == 1
