"""Builds the table of devices from a report, the counters and the driver's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from neuron_exporter.facts.report_names import ECC_EVENTS
from neuron_exporter.metrics.driver_readings import DriverReadings
from neuron_exporter.metrics.ecc_counters import EccCounts, Readings
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.metrics.tables import DeviceTable
from neuron_exporter.model import Owners

N = TypeVar("N")

_NO_ECC = EccCounts((None,) * len(ECC_EVENTS), (0.0,) * len(ECC_EVENTS))


def device_table(
    readings: Mapping[int, Readings],
    ecc: Mapping[int, EccCounts],
    memory_used: Mapping[int, float],
    memory_size: float | None,
    driver: DriverReadings,
    cache: SeriesCache,
    owners: Owners,
) -> DeviceTable:
    """Return the table of all devices with a reading or a counter.

    `readings` are the ECC readings of the report, `ecc` the counters. `memory_used` are bytes, as
    is `memory_size`, the size of each device, which may be unknown.
    """
    devices = sorted(ecc.keys() | memory_used.keys() | driver.devices)
    counts = [ecc.get(device, _NO_ECC) for device in devices]
    latest = [driver.of(device) for device in devices]
    more_ecc = cache.counter_columns("ecc", [driver.ecc(device) for device in devices])
    resets = cache.counter_columns("resets", [driver.resets(device) for device in devices])
    return DeviceTable(
        [cache.device(device, owners) for device in devices],
        ecc_reading=_by_event([readings.get(device, _NO_ECC.values) for device in devices]),
        ecc=_by_event([each.values for each in counts]) | more_ecc.values,
        ecc_start=_by_event([each.starts for each in counts]) | more_ecc.starts,
        memory_used=[memory_used.get(device) for device in devices],
        memory_utilization=[
            min(1.0, memory_used[device] / memory_size)
            if memory_size and device in memory_used
            else None
            for device in devices
        ],
        power=cache.columns("power", [dict(each.power) for each in latest]),
        health=cache.columns("health", [dict(each.health) for each in latest]),
        resets=resets.values,
        resets_start=resets.starts,
        kernel_errors=cache.columns("kernel", [driver.kernel_errors(each) for each in devices]),
    )


def _by_event(counts: list[tuple[N, ...]]) -> dict[str, list[N]]:
    """Return a column for each ECC event from the counts of each device."""
    return {event: [each[index] for each in counts] for index, event in enumerate(ECC_EVENTS)}
