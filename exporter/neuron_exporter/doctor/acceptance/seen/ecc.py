"""ECC readings of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from neuron_exporter.facts.report_names import ECC_EVENTS
from neuron_exporter.report.schema import Report


@dataclass(slots=True)
class _Readings:
    last: float
    in_a_row: int = 0
    most_in_a_row: int = 0
    falls: int = 0
    rises: int = 0


@dataclass(slots=True)
class EccSeen:
    """Readings of each device and kind of event."""

    reports: int = 0
    by_event: dict[tuple[int, str], _Readings] = field(default_factory=dict)
    _baselines: set[tuple[int, str]] = field(default_factory=set)

    def restart(self) -> None:
        """Note that the source starts anew: a lower reading is then no fall."""
        self._baselines = {*self.by_event}

    def observe(self, report: Report) -> None:
        """Take a report into account."""
        counters = report.system_data.neuron_hw_counters if report.system_data else None
        if counters is None or counters.error or not counters.neuron_devices:
            return
        self.reports += 1
        for device in counters.neuron_devices:
            if device is None or device.neuron_device_index is None:
                continue
            for name in ECC_EVENTS:
                reading = getattr(device, name)
                if reading is not None:
                    self._add((device.neuron_device_index, name), reading)

    def _add(self, key: tuple[int, str], reading: float) -> None:
        known = self.by_event.get(key)
        if known is None or key in self._baselines:
            self._baselines.discard(key)
            known = self.by_event.setdefault(key, _Readings(reading))
            known.last, known.in_a_row = reading, 0
        known.falls += reading < known.last
        known.rises += reading > known.last
        known.in_a_row = known.in_a_row + 1 if reading and reading >= known.last else 0
        known.most_in_a_row = max(known.most_in_a_row, known.in_a_row)
        known.last = reading
