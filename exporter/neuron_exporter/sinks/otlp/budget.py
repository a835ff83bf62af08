"""Limits the bytes that are sent in a month, and reports what is suppressed.

The budget suppresses a metric altogether, for all cores and owners: those of the largest preset
first, and never the protected ones. It counts each metric with its largest size in the last day:
otherwise metrics would come and go with jobs.

CloudWatch counts the name, labels, resource attributes, time and value of each data point (its page
"OTel metrics pricing"). The encoding is not public; protobuf's sizes are assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from neuron_exporter.facts.prices import OTLP_GIGABYTE
from neuron_exporter.log import get_logger
from neuron_exporter.model import Selection
from neuron_exporter.sinks.otlp.settings import NAME

HOUR = 3600.0

REMEMBERED_HOURS = 24

_log = get_logger(sink=NAME)


class ByteBudgetStatus(NamedTuple):
    """Bytes a month, by the last interval: of all metrics, of those that are sent, and of each one
    that is suppressed. The exporter's own metrics do not count."""

    wanted: int = 0
    limit: int | None = None
    suppressed: Mapping[str, int] = {}
    published: int = 0

    @property
    def exceeded(self) -> bool:
        """Whether the protected metrics alone exceed the limit."""
        return self.limit is not None and self.published > self.limit


class ByteBudget:
    """Filter of metrics, for one thread. Without a limit it admits all of them."""

    def __init__(self, limit: int | None, keep: Sequence[str], selection: Selection) -> None:
        self._largest: dict[int, dict[str, int]] = {}
        self._logged: tuple[frozenset[str], bool] = frozenset(), False
        self.configure(limit, keep, selection)

    def configure(self, limit: int | None, keep: Sequence[str], selection: Selection) -> None:
        """Apply other settings, and forget the sizes of metrics that are no longer selected."""
        self.status = ByteBudgetStatus(limit=limit)
        self._limit = limit
        self._protected = _protected(selection, keep)
        self._rank = {row.name: (row.preset, index) for index, row in enumerate(selection.rows)}
        for sizes in self._largest.values():
            for name in sizes.keys() - self._rank.keys():
                del sizes[name]

    def admit(self, sizes: Mapping[str, int], now: float) -> frozenset[str]:
        """Return the metrics that must not be sent at `now` (Unix seconds). `sizes` has the bytes
        a month of each metric, at its size in this interval."""
        hour = int(now // HOUR)
        # The upper limit is needed after the clock was set back.
        for old in [h for h in self._largest if not hour - REMEMBERED_HOURS <= h <= hour]:
            del self._largest[old]
        largest = self._largest.setdefault(hour, {})
        for name, size in sizes.items():
            largest[name] = max(largest.get(name, 0), size)
        demand: dict[str, int] = {}
        for each in self._largest.values():
            for name, size in each.items():
                demand[name] = max(demand.get(name, 0), size)
        suppressed = self._suppress(demand)
        wanted = sum(demand.values())
        published = wanted - sum(suppressed.values())
        self.status = ByteBudgetStatus(wanted, self._limit, suppressed, published)
        self._report()
        return frozenset(suppressed)

    def rows(self) -> dict[str, str]:
        """Return the status as text."""
        status = self.status
        rows = {"volume": f"{_usd(status.published)} USD a month at most"}
        if status.suppressed:
            rows["dropped"] = ", ".join(status.suppressed)
        return rows

    def _suppress(self, demand: Mapping[str, int]) -> dict[str, int]:
        """Return the metrics to suppress so that the rest fits into the limit."""
        suppressed: dict[str, int] = {}
        if self._limit is None:
            return suppressed
        excess = sum(demand.values()) - self._limit
        for name in sorted(demand, key=self._rank.__getitem__, reverse=True):
            if excess <= 0:
                break
            if name not in self._protected:
                suppressed[name] = demand[name]
                excess -= demand[name]
        return suppressed

    def _report(self) -> None:
        """Log the status if other metrics are suppressed than before."""
        status = self.status
        state = frozenset(status.suppressed), status.exceeded
        if state == self._logged:
            return
        budget = None if status.limit is None else _usd(status.limit)
        usd = {"wanted_monthly_usd": _usd(status.wanted), "budget_usd": budget}
        if any(state):
            dropped = sorted(status.suppressed)
            _log.warning(
                "over_budget", **usd, published_usd=_usd(status.published), dropped=dropped
            )
        else:
            _log.info("within_budget", **usd)
        self._logged = state


def _protected(selection: Selection, keep: Iterable[str]) -> frozenset[str]:
    globs = tuple(keep)
    return frozenset(
        row.name for row in selection.rows if any(fnmatchcase(row.name, glob) for glob in globs)
    )


def _usd(size: int) -> float:
    return round(size / 1e9 * OTLP_GIGABYTE.tiers[0].usd, 2)
