"""What outlives a report: spots, and names of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.tables import Columns
from neuron_exporter.model import NOBODY, Owner, Owners, Spot
from neuron_exporter.text import clean

MOST_NAMES = 64
"""Names of one kind: a bound on what a broken stream can make of them."""

MOST_PHYSICAL_CORES = 1024

OWNER_WAIT = 15.0
"""Seconds that a runtime is not shown while its owner is being asked for."""

PhysicalKey = tuple[int, str]
"""A logical core, and neuron-monitor's name of a physical core under it."""


@dataclass(slots=True)
class _Owned:
    since: float
    owner: Owner = NOBODY


class Known:
    """What was learned from earlier reports and makes an unchanged place look unchanged.

    Spots are made once and given again. Names (of percentiles, statuses and the like) that were
    seen once keep their columns, which are empty where there is nothing to read.
    """

    def __init__(self, runtime_labels: tuple[str, ...]) -> None:
        self.flops = False
        self.effective_flops = False
        self.physical: dict[PhysicalKey, None] = {}
        self._labels = runtime_labels
        self._names: dict[str, dict[str, str]] = {}
        self._owned: dict[RuntimeKey, _Owned] = {}
        self._runtimes: dict[RuntimeKey, Spot] = {}
        self._holders: dict[tuple[int, RuntimeKey], Spot] = {}
        self._cores: dict[int, Spot] = {}
        self._devices: dict[int, Spot] = {}

    def attribute(
        self, key: RuntimeKey, owners: Owners, held: Callable[[], Iterable[int] | None], now: float
    ) -> bool:
        """Find out whose a runtime is; gives whether it is to be shown: its counters should not
        begin under labels that they do not keep, so that it waits for an owner who is asked for.

        Who is not named is whoever owns every core that it holds (`held`), or held last.
        """
        known = self._owned.setdefault(key, _Owned(now))
        owner = owners.by_pid.get(key.pid) or owners.default
        if owner is NOBODY and owners.by_core:
            named = {owners.by_core.get(core, NOBODY) for core in held() or ()} or {known.owner}
            owner = named.pop() if len(named) == 1 else NOBODY
        known.owner = owner
        return owner is not NOBODY or not owners.asked or now - known.since >= OWNER_WAIT

    def runtime(self, key: RuntimeKey) -> Spot:
        """Under which labels a runtime is shown, and whose it is."""
        owner = self._owned[key].owner
        known = self._runtimes.get(key)
        if known is None or known.owner is not owner:
            given = {"runtime_tag": _tag(key), "pid": None if key.pid is None else str(key.pid)}
            own = tuple((name, value) for name in self._labels if (value := given[name]))
            known = self._runtimes[key] = Spot(own + owner.labels(), owner)
        return known

    def holder(self, core: int, key: RuntimeKey) -> Spot:
        """Under which labels it is shown that a runtime holds a core."""
        owner = self._owned[key].owner
        known = self._holders.get((core, key))
        if known is None or known.owner is not owner:
            labels = [("neuroncore", str(core))]
            if key.tag:
                labels.append(("runtime_tag", _tag(key)))
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

    def device(self, device: int, owners: Owners) -> Spot:
        """Under which labels a device is shown, and whose it is."""
        owner = owners.by_device.get(device, NOBODY)
        known = self._devices.get(device)
        if known is None or known.owner is not owner:
            labels = (("neuron_device_index", str(device)), *owner.labels())
            known = self._devices[device] = Spot(labels, owner)
        return known

    def learn_physical(self, seen: Iterable[PhysicalKey]) -> None:
        """Remember which physical cores there are, so that an idle one can be shown as idle."""
        for key in seen:
            if key not in self.physical and len(self.physical) < MOST_PHYSICAL_CORES:
                self.physical[key] = None

    def forget(self, present: set[RuntimeKey]) -> None:
        """Drop owners and spots of runtimes that have gone: their pids may be others' soon."""
        if self._owned.keys() != present:
            self._owned = {k: v for k, v in self._owned.items() if k in present}
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
        return {shown: [row.get(name) for row in rows] for name, shown in names.items()}

    def _learn(self, names: dict[str, str], seen: Iterable[str]) -> None:
        for name in seen:
            if len(names) < MOST_NAMES:
                names[name] = clean(name)


def _tag(key: RuntimeKey) -> str:
    return clean(key.tag or "")
