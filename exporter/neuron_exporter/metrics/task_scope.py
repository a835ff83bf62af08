"""What of a report is of one task, where several tasks share a machine.

A task has whole devices: those that are mapped into its containers. Its cores are those of its
devices, and its runtimes those that hold, or once held, one of its cores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import TypeVar

from neuron_exporter.log import get_logger
from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.report.schema import Report

_log = get_logger(part="metrics")

V = TypeVar("V")


class Task:
    """Tells what is the task's; for one thread. `present` gives the indices of its devices.

    A report that counts no more devices than the container has is of this container alone, and may
    number them from 0, whatever /dev calls them.
    """

    def __init__(self, present: Callable[[], Set[int]]) -> None:
        self._present = present
        self._counted: int | None = None
        self._each: int | None = None
        self._devices: Set[int] | None = None
        self._holders: dict[RuntimeKey, bool] = {}
        self._said = False

    def begin(self, report: Report) -> None:
        """Look at the devices that the report counts, and at those that are there."""
        hardware = report.neuron_hardware_info
        if hardware is not None and not hardware.error:
            self._counted = hardware.neuron_device_count or self._counted
            self._each = hardware.neuroncore_per_device_count or self._each
        present = self._present()
        if not present and not self._said:
            self._said = True
            _log.error("task_has_no_devices", advice="map /dev/neuronN into this container")
        is_alone = self._counted is not None and self._counted <= len(present)
        self._devices = None if is_alone else present
        if not (is_alone or self._said):
            self._said = True
            _log.warning(
                "task_has_part_of_the_machine",
                devices_of_the_task=sorted(present),
                devices_of_the_report=self._counted,
            )

    def cores(self, by_core: dict[int, V]) -> dict[int, V]:
        """The entries of the task's cores; the same object where it has all."""
        if self._devices is None:
            return by_core
        return {core: value for core, value in by_core.items() if self.has(core)}

    def has(self, core: int) -> bool:
        """Whether a core is the task's. Without knowing how many a device has, none is."""
        if self._devices is None:
            return True
        return self._each is not None and core // self._each in self._devices

    def takes(self, key: RuntimeKey, held: Set[int] | None) -> bool:
        """Whether a runtime is the task's: `held` are the cores that it holds now, None where that
        could not be read. Of one that never could be it is not known that it is another task's,
        and cores that it may use are not idle."""
        if self._devices is None:
            return True
        holds = None if held is None else any(map(self.has, held))
        if holds or (holds is False and key not in self._holders):
            self._holders[key] = holds
        return self._holders.get(key, True)

    def forget(self, present: Iterable[RuntimeKey]) -> None:
        """Drop what is known of runtimes that have gone."""
        self._holders = {key: self._holders[key] for key in present if key in self._holders}
