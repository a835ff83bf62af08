"""What outlives a report: spots, and names of columns."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.metrics.counters import RuntimeKey
from exporter.metrics.tables import Columns, Spot
from exporter.model import NOBODY, Owners

MOST_NAMES = 64
"""Names of one kind: a bound on what a broken stream can make of them."""

_FEW = 64


class Known:
    """What was learned from earlier reports and makes an unchanged place look unchanged.

    Spots are made once and given again. Names (of percentiles, statuses and the like) that were
    seen once keep their columns, which are empty where there is nothing to read.
    """

    def __init__(self, runtime_labels: tuple[str, ...]) -> None:
        self.flops = False
        self._labels = runtime_labels
        self._names: dict[str, dict[str, None]] = {}
        self._runtimes: dict[RuntimeKey, Spot] = {}
        self._holders: dict[tuple[int, RuntimeKey], Spot] = {}
        self._cores: dict[int, Spot] = {}
        self._devices: dict[int, Spot] = {}

    def runtime(self, key: RuntimeKey, owners: Owners) -> Spot:
        """Under which labels a runtime is shown, and whose it is."""
        owner = owners.by_pid.get(key.pid, NOBODY)
        known = self._runtimes.get(key)
        if known is None or known.owner is not owner:
            given = {"runtime_tag": key.tag, "pid": None if key.pid is None else str(key.pid)}
            own = tuple((name, value) for name in self._labels if (value := given[name]))
            known = self._runtimes[key] = Spot(own + owner.labels(), owner)
        return known

    def holder(self, core: int, key: RuntimeKey, owners: Owners) -> Spot:
        """Under which labels it is shown that a runtime holds a core."""
        owner = owners.by_pid.get(key.pid, NOBODY)
        known = self._holders.get((core, key))
        if known is None or known.owner is not owner:
            labels = [("neuroncore", str(core))]
            if key.tag:
                labels.append(("runtime_tag", key.tag))
            if key.pid is not None:
                labels.append(("pid", str(key.pid)))
            known = self._holders[core, key] = Spot((*labels, *owner.labels()), owner)
        return known

    def core(self, core: int, owners: Owners) -> Spot:
        """Under which labels a core is shown, and whose it is."""
        owner = owners.by_core.get(core, NOBODY)
        known = self._cores.get(core)
        if known is None or known.owner is not owner:
            known = self._cores[core] = Spot((("neuroncore", str(core)), *owner.labels()), owner)
        return known

    def device(self, device: int) -> Spot:
        """Under which labels a device is shown."""
        known = self._devices.get(device)
        if known is None:
            known = self._devices[device] = Spot((("neuron_device_index", str(device)),))
        return known

    def forget(self, present: set[RuntimeKey]) -> None:
        """Drop the spots of runtimes that have gone, once there are more of them than others."""
        if len(self._runtimes) > 2 * len(present) + _FEW:
            self._runtimes = {k: v for k, v in self._runtimes.items() if k in present}
            self._holders = {k: v for k, v in self._holders.items() if k[1] in present}

    def columns(self, kind: str, rows: list[dict[str, float]]) -> Columns:
        """A column for each name of this kind that is or was there."""
        names = self._names.setdefault(kind, {})
        first = rows[0].keys() if rows else ()
        if not all(map(first.__eq__, map(dict.keys, rows))):
            for row in rows:
                self._learn(names, row)
        elif not names.keys() >= set(first):
            self._learn(names, first)
        return {name: [row.get(name) for row in rows] for name in names}

    def _learn(self, names: dict[str, None], seen: Iterable[str]) -> None:
        for name in seen:
            if len(names) < MOST_NAMES:
                names[name] = None
