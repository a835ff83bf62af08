"""Physical cores, several of which form a logical one on Trn2, and their utilization."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from neuron_exporter.metrics.sums import CoreSums
from neuron_exporter.model import Entity
from neuron_exporter.report.schema import CoreCounters
from neuron_exporter.text import sanitize_text

MAX_PHYSICAL_CORES = 1024

PhysicalKey = tuple[int, str]
"""Logical core, and the number of one of its physical cores."""


class PhysicalCores:
    """Physical cores in any report so far, so that idle ones can be shown as idle.

    Attributes:
        entities: Their entities by logical core and number.
    """

    def __init__(self) -> None:
        self.entities: dict[PhysicalKey, Entity] = {}
        self._idle: dict[int, CoreCounters] = {}

    def read(
        self, cores: Mapping[int, CoreCounters | None], utilization: CoreSums[PhysicalKey]
    ) -> None:
        """Add the percentages of one runtime that are not zero.

        Zeros are filled in at the end, once the core is known. An entry that equals the last one of
        an idle core, as most do, is not read again.
        """
        for core, used in cores.items():
            if used is None or (not used.v3d and used.neuroncore_utilization != 0):
                utilization.unread.update(key for key in self.entities if key[0] == core)
                continue
            if used == self._idle.get(core):
                continue
            is_idle = True
            for name, part in (used.v3d or {}).items():
                percent = part.neuroncore_utilization if part else None
                key = core, _number(name)
                self._add(key)
                if percent or percent is None:
                    utilization.add(key, percent)
                    is_idle = False
            if is_idle:
                self._idle[core] = used

    def _add(self, key: PhysicalKey) -> None:
        if key not in self.entities and len(self.entities) < MAX_PHYSICAL_CORES:
            labels = (("neuroncore", str(key[0])), ("physical_neuroncore", key[1]))
            self.entities[key] = Entity(labels)


@lru_cache(maxsize=1024)
def _number(name: str) -> str:
    """Return the number at the end of a physical core's name (`nc_v3.7`), or the whole name."""
    number = name.rpartition(".")[2]
    return number if number.isascii() and number.isdigit() else sanitize_text(name)
