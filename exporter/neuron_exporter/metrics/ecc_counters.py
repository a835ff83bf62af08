"""Counters of ECC events, built from readings that may be levels or deltas.

neuron-monitor does not document which of the two they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from neuron_exporter.facts.report_names import ECC_EVENTS
from neuron_exporter.report.schema import Quantity

Readings = tuple[float | None, ...]
"""ECC readings of a device, in the order of `ECC_EVENTS`."""


class SavedCounter(NamedTuple):
    """Last reading and value of a counter."""

    reading: Quantity
    value: Quantity


SavedCounters = dict[int, dict[str, SavedCounter]]
"""Counters by device and event."""


class EccStore(Protocol):
    """Storage that outlives the exporter."""

    def load(self, mode: str) -> SavedCounters:
        """Return the counters of an earlier exporter in this mode; empty if there are none."""

    def save(self, mode: str, counters: SavedCounters) -> None:
        """Store the counters, without blocking and without raising."""


class CumulativeCounter:
    """Counter made of readings that may be levels or deltas.

    Modes, as in the configuration key `counters.ecc`:
        reset_aware: Add increases. A decrease is a reset, after which the new reading is added.
        level: Add increases, ignore decreases.
        tally: Add every reading.

    The first reading of a level only sets the value from which the counter starts.
    """

    __slots__ = ("_mode", "reading", "start", "value")

    def __init__(self, mode: str, first: float) -> None:
        self._mode = mode
        self.reading = first
        self.value = first
        self.start = 0.0 if mode == "tally" else first

    @classmethod
    def resume(cls, mode: str, saved: SavedCounter) -> CumulativeCounter:
        """Return the counter of an earlier exporter."""
        counter = cls(mode, saved.reading)
        counter.value = counter.start = saved.value
        return counter

    def observe(self, reading: float) -> None:
        """Count another reading."""
        if self._mode == "tally":
            self.value += reading
        elif reading >= self.reading:
            self.value += reading - self.reading
        elif self._mode == "reset_aware":
            self.value += reading
        self.reading = reading


class EccCounts(NamedTuple):
    """Counters of a device and the values from which they started, in the order of `ECC_EVENTS`."""

    values: Readings
    starts: tuple[float, ...]


@dataclass(slots=True)
class _Device:
    counters: list[CumulativeCounter | None]
    readings: Readings
    counts: EccCounts


class EccCounters:
    """ECC counters of all devices that a report has listed.

    With a store, they go on where an earlier exporter left off, so that the events in between are
    counted.
    """

    def __init__(self, mode: str, store: EccStore | None = None) -> None:
        self._mode = mode
        self._store = store
        self._saved: SavedCounters | None = None
        self._devices: dict[int, _Device] = {}
        self._state: SavedCounters = {}

    @property
    def counts(self) -> dict[int, EccCounts]:
        """Counts of each device, also of those that the last report does not list."""
        return {device: known.counts for device, known in self._devices.items()}

    def observe(self, readings: Mapping[int, Readings]) -> None:
        """Count the readings of each device."""
        if not readings:
            return
        changed = [device for device, read in readings.items() if self._observe(device, read)]
        if self._store is None:
            return
        if changed:  # another mapping, as the store may still be writing this one
            self._state = self._state | {device: self._saved_of(device) for device in changed}
        self._store.save(self._mode, self._state)

    def _observe(self, device: int, readings: Readings) -> bool:
        """Count the readings of a device; return whether that changed anything."""
        known = self._devices.get(device)
        if known is None:
            resumed = self._saved_counters().get(device, {})
            known = self._devices[device] = _Device(
                [
                    CumulativeCounter.resume(self._mode, resumed[event])
                    if event in resumed
                    else None
                    for event in ECC_EVENTS
                ],
                (),
                EccCounts((), ()),
            )
        elif readings == known.readings and (self._mode != "tally" or not any(readings)):
            return False  # the usual case
        for index, reading in enumerate(readings):
            counter = known.counters[index]
            if reading is None:
                continue
            if counter is None:
                known.counters[index] = CumulativeCounter(self._mode, reading)
            else:
                counter.observe(reading)
        known.readings = readings
        known.counts = EccCounts(
            tuple(None if counter is None else counter.value for counter in known.counters),
            tuple(0.0 if counter is None else counter.start for counter in known.counters),
        )
        return True

    def _saved_of(self, device: int) -> dict[str, SavedCounter]:
        counters = zip(ECC_EVENTS, self._devices[device].counters, strict=True)
        return {
            event: SavedCounter(counter.reading, counter.value)
            for event, counter in counters
            if counter is not None
        }

    def _saved_counters(self) -> SavedCounters:
        """Return the counters of an earlier exporter, which are loaded once."""
        if self._saved is None:
            self._saved = {} if self._store is None else self._store.load(self._mode)
        return self._saved
