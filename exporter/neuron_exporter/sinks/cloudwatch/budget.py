"""Limits the number of published metrics, and reports what is suppressed.

CloudWatch bills each combination of a metric's name and dimension values. The budget suppresses a
name in a dimension set altogether, for all machines or owners: in the finest set first, within a
set the metrics of the largest preset first, and never the protected ones. It counts each name with
the largest number of combinations in the last day: otherwise metrics would come and go with jobs.

CloudWatch bills for each clock hour in which a combination receives a value. Once the limit is
reached, no new one is published within the hour: suppressing another would not reduce the bill.
In the first hour, room is reserved for all metrics of the machine, because some appear late, such
as latency after the first execution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from neuron_exporter.facts.prices import METRIC
from neuron_exporter.log import get_logger
from neuron_exporter.model import Pooling, Selection
from neuron_exporter.sinks.cloudwatch.datums import MetricValues, selected_metrics
from neuron_exporter.sinks.cloudwatch.dimensions import ONE_MACHINE, Dimensions
from neuron_exporter.sinks.cloudwatch.pooling import has_no_owner
from neuron_exporter.sinks.cloudwatch.settings import NAME, SinkSettings
from neuron_exporter.telemetry import Telemetry

HOUR = 3600.0

REMEMBERED_HOURS = 24

MAX_COUNTED = 10_000
"""Combinations of one metric in a set that are counted. This limits the memory."""

BudgetItem = tuple[tuple[str, ...], str]
"""Unit of suppression: a dimension set as configured, and the name of a metric."""

_log = get_logger(sink=NAME)


class BudgetStatus(NamedTuple):
    """Numbers of metrics in one window. `suppressed_items` are not published at all; `deferred`
    metrics have to wait for the next hour."""

    wanted: int = 0
    limit: int | None = None
    suppressed_items: Mapping[BudgetItem, int] = {}
    deferred: int = 0
    published: int = 0

    @property
    def exceeded(self) -> bool:
        """Whether the protected metrics alone exceed the limit."""
        return self.limit is not None and self.published > self.limit

    @property
    def suppressed(self) -> int:
        """Number of metrics that are not published now."""
        return sum(self.suppressed_items.values()) + self.deferred

    def describe(self) -> list[str]:
        """Return the suppressed metrics of each set as text."""
        by_set: dict[tuple[str, ...], list[str]] = {}
        for names, metric in self.suppressed_items:
            by_set.setdefault(names, []).append(metric)
        return [f"{', '.join(metrics)} in [{', '.join(s)}]" for s, metrics in by_set.items()]


class Budget:
    """Filter of metrics, for one thread. Without a limit it admits and counts all of them."""

    def __init__(self, settings: SinkSettings, selection: Selection) -> None:
        self._hour = -1
        self._wanted: dict[BudgetItem, set[Dimensions]] = {}
        self._earlier: dict[int, dict[BudgetItem, int]] = {}
        self._published: set[tuple[str, Dimensions]] = set()
        self.configure(settings, selection)

    def configure(self, settings: SinkSettings, selection: Selection) -> None:
        """Apply other settings, and forget the demand for metrics that are no longer selected.
        Metrics published in this hour are already billed, and count until the hour is over."""
        self.status = BudgetStatus(limit=settings.metric_limit)
        self._limit = settings.metric_limit
        self._protected = protected_names(selection, settings.keep)
        self._rank = _ranking(settings, selection)
        self._expected = {
            item: 1
            for item in expected_items(settings, selection)
            if not settings.owner_dimensions_in(item[0])
        }
        sets = set(map(tuple, settings.dimension_sets))
        demands: tuple[dict[BudgetItem, Any], ...] = (self._wanted, *self._earlier.values())
        for demand in demands:
            for item in [i for i in demand if i[0] not in sets or i[1] not in selection.names]:
                del demand[item]

    def admit(self, metrics: Sequence[MetricValues], now: float) -> list[MetricValues]:
        """Return the metrics that may be published at `now` (Unix seconds), in the same order."""
        self._start_hour(int(now // HOUR))
        for each in metrics:
            wanted = self._wanted.setdefault(_item(each), set())
            if len(wanted) < MAX_COUNTED:
                wanted.add(each.dimensions)
        demand = self._demand()
        suppressed = self._suppress({**({} if self._earlier else self._expected), **demand})
        left = [each for each in metrics if _item(each) not in suppressed]
        admitted = self._within_hour(left)
        deferred = len({_identity(each) for each in left}) - len({_identity(e) for e in admitted})
        missing = {item: count for item, count in suppressed.items() if item in demand}
        wanted_count = sum(demand.values())
        self.status = BudgetStatus(wanted_count, self._limit, missing, deferred, len(admitted))
        return admitted

    def _start_hour(self, hour: int) -> None:
        if hour == self._hour:
            return
        self._earlier[self._hour] = {item: len(wanted) for item, wanted in self._wanted.items()}
        self._hour = hour
        # The upper limit is needed after the clock was set back.
        for old in [h for h in self._earlier if not hour - REMEMBERED_HOURS <= h < hour]:
            del self._earlier[old]
        self._wanted.clear()
        self._published.clear()

    def _demand(self) -> dict[BudgetItem, int]:
        """Return the largest number of metrics of each item in this and the remembered hours."""
        demand = {item: len(wanted) for item, wanted in self._wanted.items()}
        for counts in self._earlier.values():
            for item, count in counts.items():
                demand[item] = max(demand.get(item, 0), count)
        return demand

    def _suppress(self, demand: Mapping[BudgetItem, int]) -> dict[BudgetItem, int]:
        """Return the items to suppress so that the rest fits into the limit."""
        suppressed: dict[BudgetItem, int] = {}
        if self._limit is None:
            return suppressed
        excess = sum(demand.values()) - self._limit
        for item in sorted(demand, key=self._rank, reverse=True):
            if excess <= 0:
                break
            if item[1] not in self._protected:
                suppressed[item] = demand[item]
                excess -= demand[item]
        return suppressed

    def _within_hour(self, metrics: Sequence[MetricValues]) -> list[MetricValues]:
        """Return the metrics that were already published in this hour, and new ones up to the
        limit."""
        if self._limit is None:
            return list(metrics)
        published = self._published
        published.update(_identity(e) for e in metrics if e.metric.name in self._protected)
        for each in sorted(metrics, key=lambda each: self._rank(_item(each))):
            if len(published) < self._limit:
                published.add(_identity(each))
        return [each for each in metrics if _identity(each) in published]


def preview(settings: SinkSettings, selection: Selection) -> BudgetStatus:
    """Return the status for a machine with one owner that has all selected metrics."""
    demand = dict.fromkeys(expected_items(settings, selection), 1)
    suppressed = Budget(settings, selection)._suppress(demand)
    published = len(demand) - len(suppressed)
    return BudgetStatus(len(demand), settings.metric_limit, suppressed, 0, published)


def expected_items(settings: SinkSettings, selection: Selection) -> Iterator[BudgetItem]:
    """Yield the metrics of each set.

    Sets with owner dimensions have only metrics that belong to an owner.
    """
    for names in settings.dimension_sets:
        of_owner = bool(settings.owner_dimensions_in(names))
        for row in selection.rows:
            for metric in row.cloudwatch:
                if metric.name in selection.names and not (of_owner and has_no_owner(row, metric)):
                    yield tuple(names), metric.name


class BudgetReporter:
    """Reporter of the budget in metrics, in the log and on the status page (`rows`)."""

    def __init__(self, telemetry: Telemetry) -> None:
        self.rows: dict[str, str] = {}
        self._telemetry = telemetry
        self._logged: tuple[frozenset[BudgetItem], bool] = (frozenset(), False)

    def report(self, status: BudgetStatus) -> None:
        """Publish the status of a window, and log it if other metrics are suppressed."""
        self._telemetry.published_metrics.set(status.published)
        self._telemetry.wanted_metrics.set(status.wanted)
        self._telemetry.budget_dropped.set(status.suppressed)
        price = METRIC.tiers[0].usd
        cost = f"{status.published * price:.2f} USD a month at most"
        self.rows = {"metrics": f"{status.published}, {cost}"}
        if status.suppressed:
            self.rows |= {
                "wanted": f"{status.wanted}, {status.wanted * price:.2f} USD a month at most; "
                f"the budget is {status.limit}",
                "dropped": "; ".join(status.describe()) or "until the hour is over",
            }
        state = frozenset(status.suppressed_items), status.exceeded
        if state == self._logged:
            return
        if any(state):
            _log.warning(
                "over_budget",
                budget=status.limit,
                wanted=status.wanted,
                published=status.published,
                wanted_monthly_usd=round(status.wanted * price, 2),
                dropped=status.describe(),
            )
        else:
            _log.info("within_budget", budget=status.limit, wanted=status.wanted)
        self._logged = state


def protected_names(selection: Selection, keep: Iterable[str]) -> frozenset[str]:
    """Return the metrics that are never suppressed: the heartbeat and those that match a glob."""
    globs = tuple(keep)
    return frozenset(
        metric.name
        for metric in selected_metrics(selection)
        if metric.pooling is Pooling.HEARTBEAT
        or any(fnmatchcase(metric.name, glob) for glob in globs)
    )


def _ranking(
    settings: SinkSettings, selection: Selection
) -> Callable[[BudgetItem], tuple[int, ...]]:
    """Return a sort key: the coarsest set first, in a set the metrics of the smallest preset."""
    of_one_machine = ONE_MACHINE - settings.extra_dimensions.keys()
    sets = {
        tuple(names): (
            bool(settings.owner_dimensions_in(names)),
            not of_one_machine.isdisjoint(names),
            len(names),
            index,
        )
        for index, names in enumerate(settings.dimension_sets)
    }
    metrics = {
        metric.name: (metric.preset, index)
        for index, row in enumerate(selection.rows)
        for metric in row.cloudwatch
    }
    return lambda item: (*sets[item[0]], *metrics[item[1]])


def _item(values: MetricValues) -> BudgetItem:
    return values.names, values.metric.name


def _identity(values: MetricValues) -> tuple[str, Dimensions]:
    return values.metric.name, values.dimensions
