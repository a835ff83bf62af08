"""Series for each core and runtime, as AWS's script has them (`prometheus.layout: aws`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import TypeVar

from neuron_exporter.metrics.runtimes import limited_runtimes, runtime_key
from neuron_exporter.metrics.series_cache import SeriesCache
from neuron_exporter.metrics.sums import (
    CATEGORIES,
    Quantities,
    add_each,
    add_optional,
    columns_by_name,
    readable,
    shares,
)
from neuron_exporter.metrics.tables import RuntimeCoreTable
from neuron_exporter.model import Labels
from neuron_exporter.report.schema import CoreMemory, Report

_UNREAD = CoreMemory()
_quantities = attrgetter(*CATEGORIES)

V = TypeVar("V")


def runtime_cores(report: Report, cache: SeriesCache) -> RuntimeCoreTable:
    """Return the values of each core of each runtime; runtimes with equal labels are merged."""
    percents: dict[Labels, dict[int, float | None]] = {}
    memory: dict[Labels, dict[int, Quantities]] = {}
    for runtime in limited_runtimes(report):
        if runtime is None or runtime.error or runtime.report is None:
            continue
        labels = cache.runtime(runtime_key(runtime)).labels
        counters = runtime.report.neuroncore_counters
        if counters is not None and not counters.error:
            own_percents = percents.setdefault(labels, {})
            for core, used in readable(counters.neuroncores_in_use or {}).items():
                percent = used.neuroncore_utilization if used else None
                if core in own_percents:
                    percent = add_optional(own_percents[core], percent)
                own_percents[core] = percent
        group = runtime.report.memory_used
        if group is None or group.error or group.neuron_runtime_used_bytes is None:
            continue
        breakdown = group.neuron_runtime_used_bytes.usage_breakdown
        by_core = (breakdown and breakdown.neuroncore_memory_usage) or {}
        own_memory = memory.setdefault(labels, {})
        for core, categories in readable(by_core).items():
            quantities = _quantities(categories or _UNREAD)
            own_memory[core] = add_each(own_memory.get(core), quantities)
    cores = {
        labels: dict.fromkeys((*percents.get(labels, ()), *memory.get(labels, ())))
        for labels in dict.fromkeys((*percents, *memory))
    }
    return RuntimeCoreTable(
        cache.runtime_cores(cores),
        **columns_by_name(CATEGORIES, _values(memory, cores)),
        utilization=shares(_values(percents, cores)),
    )


def _values(
    by_labels: Mapping[Labels, Mapping[int, V]], cores: Mapping[Labels, Iterable[int]]
) -> Iterator[V | None]:
    for labels, own in cores.items():
        yield from map(by_labels.get(labels, {}).get, own)
