"""Cores as each runtime uses them: the series of AWS's script, for `layout: aws`."""

from __future__ import annotations

from operator import attrgetter

from neuron_exporter.metrics.runtimes import MOST_RUNTIMES, key_of
from neuron_exporter.metrics.series_cache import Known
from neuron_exporter.metrics.sums import CATEGORIES, Amounts, by_name, plus, plus_each, readable
from neuron_exporter.metrics.tables import RuntimeCoreTable
from neuron_exporter.model import Spot
from neuron_exporter.report.schema import CoreMemory, Report

_UNREAD = CoreMemory()
_amounts = attrgetter(*CATEGORIES)


def runtime_cores(report: Report, known: Known) -> RuntimeCoreTable:
    """What every runtime says of every core; runtimes with equal labels are one."""
    busy: dict[Spot, float | None] = {}
    memory: dict[Spot, Amounts] = {}
    for runtime in (report.neuron_runtime_data or ())[:MOST_RUNTIMES]:
        if runtime is None or runtime.error or runtime.report is None:
            continue
        labels = known.runtime(key_of(runtime)).labels
        counters = runtime.report.neuroncore_counters
        if counters is not None and not counters.error:
            for core, used in readable(counters.neuroncores_in_use or {}).items():
                spot = Spot((("neuroncore", str(core)), *labels))
                share = used.neuroncore_utilization if used else None
                busy[spot] = plus(busy.get(spot), share)
        group = runtime.report.memory_used
        if group is None or group.error or group.neuron_runtime_used_bytes is None:
            continue
        breakdown = group.neuron_runtime_used_bytes.usage_breakdown
        by_core = (breakdown and breakdown.neuroncore_memory_usage) or {}
        for core, amounts in readable(by_core).items():
            spot = Spot((("neuroncore", str(core)), *labels))
            memory[spot] = plus_each(memory.get(spot), _amounts(amounts or _UNREAD))
    spots = list(dict.fromkeys((*busy, *memory)))
    shares = (busy.get(spot) for spot in spots)
    return RuntimeCoreTable(
        spots,
        **by_name(CATEGORIES, map(memory.get, spots)),
        utilization=[None if share is None else min(1.0, share / 100) for share in shares],
    )
