"""Process labels of cores and devices, from those of the runtimes that use them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.model import Labels


class CoreLabels:
    """Labels that all runtimes of a core, or of the used cores of a device, have in common."""

    def __init__(self) -> None:
        self.by_core: Mapping[int, Labels] = {}
        self.by_device: Mapping[int, Labels] = {}
        self._used: dict[tuple[int, RuntimeKey], None] = {}

    def update(
        self,
        used: Iterable[tuple[int, RuntimeKey]],
        labels: Mapping[RuntimeKey, Labels],
        unread: Set[RuntimeKey],
        cores_per_device: int | None,
    ) -> None:
        """Set the labels by the cores that each runtime uses.

        A runtime in `unread`, whose memory could not be read, also uses those that it used before.
        """
        kept = (pair for pair in self._used if pair[1] in unread)
        self._used = dict.fromkeys((*used, *kept))
        self.by_core = _common((core, labels.get(key, ())) for core, key in self._used)
        self.by_device = _common(
            (core // cores_per_device, own)
            for core, own in self.by_core.items()
            if cores_per_device
        )


def _common(items: Iterable[tuple[int, Labels]]) -> dict[int, Labels]:
    """Return the labels that all items with a number have."""
    common: dict[int, Labels] = {}
    for number, labels in items:
        known = common.get(number, labels)
        common[number] = known if known == labels else tuple(filter(labels.__contains__, known))
    return common
