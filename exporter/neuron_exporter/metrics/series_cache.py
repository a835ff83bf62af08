"""Entities and column names that are kept from one report to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

from neuron_exporter.metrics.core_labels import CoreLabels
from neuron_exporter.metrics.counters import RuntimeKey
from neuron_exporter.metrics.physical_cores import PhysicalCores
from neuron_exporter.metrics.tables import Columns
from neuron_exporter.model import NO_OWNER, Entity, Labels, Owner, Owners, with_process_labels

MAX_NAMES = 64
"""Maximum number of names of one kind, in case a broken stream invents new ones."""

OWNER_WAIT = 15.0
"""Seconds for which a runtime is not shown while its owner is looked up."""


@dataclass(slots=True)
class _RuntimeOwner:
    """Owner of a runtime, the same without the labels of its process, and the last with a pod;
    and the labels of its process by the last answer."""

    first_seen: float
    owner: Owner = NO_OWNER
    without_labels: Owner = NO_OWNER
    with_pod: Owner = NO_OWNER
    process_labels: Labels | None = None


class CounterColumns(NamedTuple):
    """Columns of values and of start values."""

    values: Columns
    starts: dict[str, list[float]]


class SeriesCache:
    """Cache of entities and column names, so that an unchanged machine keeps an unchanged shape.

    An entity is made once and is the same object until its owner changes. A name (of a percentile,
    status or the like) keeps its column, which is empty where a report has no value for it.
    """

    def __init__(self, runtime_labels: tuple[str, ...]) -> None:
        self.has_flops = False
        self.has_effective_flops = False
        self.physical_cores = PhysicalCores()
        self.core_labels = CoreLabels()
        self._runtime_labels = runtime_labels
        self._names: dict[str, dict[str, None]] = {}
        self._owners: dict[RuntimeKey, _RuntimeOwner] = {}
        self._runtimes: dict[RuntimeKey, Entity] = {}
        self._core_runtimes: dict[tuple[int, RuntimeKey], Entity] = {}
        self._runtime_cores: dict[Labels, dict[int, Entity]] = {}
        self._cores: dict[int, Entity] = {}
        self._devices: dict[int, Entity] = {}

    def resolve_owner(
        self,
        key: RuntimeKey,
        owners: Owners,
        used_cores: Callable[[], Iterable[int] | None],
        now: float,
    ) -> bool:
        """Determine the owner of a runtime, and return whether the runtime may be shown.

        A runtime whose process has no known owner inherits the owner of the cores that it uses or
        used last, as far as they have it in common. A process never changes its pod: if its cores
        pass to another while it still holds them, its own pod is gone, and it has no owner. In the
        first seconds of a process, the cores may still have the owner of the one before it. It is
        not shown while its owner is looked up, because its counters would start under labels that
        soon change.
        """
        known = self._owners.setdefault(key, _RuntimeOwner(now))
        is_settled = now - known.first_seen >= OWNER_WAIT
        owner = owners.by_pid.get(key.pid) or owners.default
        if owner is NO_OWNER and owners.by_core:
            candidates = {owners.by_core.get(core, NO_OWNER) for core in used_cores() or ()}
            owner = reduce(Owner.common, candidates or {known.without_labels})
            before = known.with_pod
            if before.pod and (before.namespace, before.pod) != (owner.namespace, owner.pod):
                owner = NO_OWNER
        if owner.pod and (is_settled or key.pid in owners.by_pid):
            known.with_pod = owner
        known.without_labels = owner
        is_known = owner is not NO_OWNER or not owners.lookup_enabled
        if owners.process_labels is not None and key.pid is not None:
            labels = owners.process_labels.get(key.pid, known.process_labels)
            known.process_labels = labels  # a process keeps its labels, also without an answer
            is_known = is_known and labels is not None
            owner = with_process_labels(owner, labels) if labels else owner
        if owner != known.owner:  # an equal one stays the same object, and with it the entities
            known.owner = owner
        return is_known or is_settled

    def runtime(self, key: RuntimeKey) -> Entity:
        """Return the entity of a runtime."""
        owner = self._owners[key].owner
        entity = self._runtimes.get(key)
        if entity is None or entity.owner is not owner:
            values = {"runtime_tag": key.tag, "pid": None if key.pid is None else str(key.pid)}
            own = tuple((name, value) for name in self._runtime_labels if (value := values[name]))
            entity = self._runtimes[key] = Entity(own + owner.labels(), owner)
        return entity

    def core_runtime(self, core: int, key: RuntimeKey) -> Entity:
        """Return the entity of a runtime that uses a core."""
        owner = self._owners[key].owner
        entity = self._core_runtimes.get((core, key))
        if entity is None or entity.owner is not owner:
            labels = [("neuroncore", str(core))]
            if key.tag:
                labels.append(("runtime_tag", key.tag))
            if key.pid is not None:
                labels.append(("pid", str(key.pid)))
            entity = self._core_runtimes[core, key] = Entity((*labels, *owner.labels()), owner)
        return entity

    def runtime_cores(self, cores: Mapping[Labels, Iterable[int]]) -> list[Entity]:
        """Return the entities of these cores of each runtime, given by its labels."""
        known, self._runtime_cores = self._runtime_cores, {}
        entities = []
        for labels, own in cores.items():
            by_core = self._runtime_cores[labels] = known.get(labels, {})
            for core in own:
                entity = by_core.get(core)
                if entity is None:
                    entity = by_core[core] = Entity((("neuroncore", str(core)), *labels))
                entities.append(entity)
        return entities

    def core(self, core: int, owners: Owners) -> Entity:
        """Return the entity of a core."""
        owner = owners.by_core.get(core, NO_OWNER)
        if labels := self.core_labels.by_core.get(core):
            owner = with_process_labels(owner, labels)
        entity = self._cores.get(core)
        if entity is None or entity.owner is not owner:
            entity = Entity((("neuroncore", str(core)), *owner.labels()), owner)
            self._cores[core] = entity
        return entity

    def device(self, device: int, owners: Owners) -> Entity:
        """Return the entity of a device."""
        owner = owners.by_device.get(device, NO_OWNER)
        if labels := self.core_labels.by_device.get(device):
            owner = with_process_labels(owner, labels)
        entity = self._devices.get(device)
        if entity is None or entity.owner is not owner:
            entity = Entity((("neuron_device_index", str(device)), *owner.labels()), owner)
            self._devices[device] = entity
        return entity

    def label_cores(
        self,
        used: Iterable[tuple[int, RuntimeKey]],
        unread: Set[RuntimeKey],
        cores_per_device: int | None,
    ) -> None:
        """Set the process labels of cores and devices to those of the runtimes that use them.

        A runtime whose memory could not be read still uses the cores that it used before.
        """
        labels = {key: known.owner.process_labels for key, known in self._owners.items()}
        self.core_labels.update(used, labels, unread, cores_per_device)

    def retain_runtimes(self, present: set[RuntimeKey]) -> None:
        """Drop the owners and entities of exited runtimes, whose pids may be reused."""
        if self._owners.keys() != present:
            self._owners = {k: v for k, v in self._owners.items() if k in present}
            self._runtimes = {k: v for k, v in self._runtimes.items() if k in present}
            self._core_runtimes = {k: v for k, v in self._core_runtimes.items() if k[1] in present}

    def columns(self, kind: str, rows: list[dict[str, float]]) -> Columns:
        """Return a column for each name of this kind in this report or in an earlier one."""
        names = self._names.setdefault(kind, {})
        first = rows[0].keys() if rows else ()
        if not all(map(first.__eq__, map(dict.keys, rows))):
            for row in rows:
                self._add_names(names, row)
        elif not names.keys() >= set(first):
            self._add_names(names, first)
        return {name: [row.get(name) for row in rows] for name in names}

    def counter_columns(
        self, kind: str, rows: Sequence[Mapping[str, tuple[float, float]]]
    ) -> CounterColumns:
        """Return such columns of counters, given by their values and start values."""
        values = self.columns(kind, [{name: each[0] for name, each in row.items()} for row in rows])
        none = (0.0, 0.0)
        return CounterColumns(
            values, {name: [row.get(name, none)[1] for row in rows] for name in values}
        )

    def _add_names(self, names: dict[str, None], reported: Iterable[str]) -> None:
        for name in reported:
            if len(names) < MAX_NAMES:
                names[name] = None
