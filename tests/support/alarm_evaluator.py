"""A small CloudWatch: evaluate alarms on published values.

It follows the user guide (AlarmThatSendsEmail, using-metric-math, percentiles-with-low-samples) as
far as the alarms need it; anything else is an error. Two points are uncertain: whether arithmetic
treats a missing point as 0 (the guide) or has no result (user reports), and whether FILL fills a
series without any point. A state that depends on either is an error.
"""

from __future__ import annotations

import ast
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

_EXTRA_POINTS = 2
"""Points read beyond the evaluation periods: 5 for 3, in the guide's examples."""

Points = dict[int, float]
"""Values by the start of their period (s); periods without a value are missing."""


class SeriesKey(NamedTuple):
    """Key of a series: an alarm that differs in any part finds no data."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]
    unit: str


class PublishedValues:
    """Published values, from the requests of PutMetricData."""

    def __init__(self, requests: Iterable[Mapping[str, Any]]) -> None:
        self.series: defaultdict[SeriesKey, list[tuple[float, float, float]]] = defaultdict(list)
        for request in requests:
            for datum in request["MetricData"]:
                identity = SeriesKey(
                    request["Namespace"],
                    datum["MetricName"],
                    frozenset((each["Name"], each["Value"]) for each in datum["Dimensions"]),
                    datum["Unit"],
                )
                values = datum.get("Values", [datum.get("Value")])
                counts = datum.get("Counts", [1.0] * len(values))
                stamp = float(datum["Timestamp"])
                self.series[identity] += [
                    (stamp, value, count) for value, count in zip(values, counts, strict=True)
                ]

    def add(self, identity: SeriesKey, stamp: float, value: float) -> None:
        """Add a value of another publisher, such as the count of a scaling group."""
        self.series[identity].append((stamp, value, 1.0))

    def points(self, identity: SeriesKey, statistic: str, grid: range) -> Points:
        """Return a statistic for each period of a grid that has values."""
        gathered: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for stamp, value, count in self.series.get(identity, ()):
            if grid.start <= stamp < grid.stop:
                at = int((stamp - grid.start) // grid.step)
                gathered[grid[at]].append((value, count))
        return {at: _statistic(statistic, values) for at, values in gathered.items()}

    def select(self, identity: SeriesKey) -> bool:
        """Return whether the series has values."""
        return bool(self.series.get(identity))


def _statistic(name: str, values: list[tuple[float, float]]) -> float:
    samples = sum(count for _, count in values)
    total = sum(value * count for value, count in values)
    match name:
        case "Sum":
            return total
        case "SampleCount":
            return samples
        case "Average":
            return total / samples
        case "Maximum":
            return max(value for value, _ in values)
        case "Minimum":
            return min(value for value, _ in values)
    assert name.startswith("p"), name
    rank, count_so_far = float(name[1:]) / 100 * samples, 0.0
    for value, count in sorted(values):
        count_so_far += count
        if count_so_far >= rank:
            return value
    raise AssertionError("no values")


# Which series an alarm reads


class Stat(NamedTuple):
    """A series that an alarm reads, with its statistic."""

    id: str
    identity: SeriesKey
    statistic: str
    period: int


def stats(alarm: Mapping[str, Any]) -> list[Stat]:
    """Return the series that an alarm reads."""
    if "Metrics" not in alarm:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return [Stat("it", _identity(alarm, alarm), statistic, alarm["Period"])]
    found = [(each["Id"], each["MetricStat"]) for each in alarm["Metrics"] if "MetricStat" in each]
    return [
        Stat(name, _identity(stat["Metric"], stat), stat["Stat"], stat["Period"])
        for name, stat in found
    ]


def _identity(metric: Mapping[str, Any], source: Mapping[str, Any]) -> SeriesKey:
    pairs = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
    unit = source.get("Unit", "None")
    return SeriesKey(metric["Namespace"], metric["MetricName"], pairs, unit)


# The state


def state(alarm: Mapping[str, Any], published: PublishedValues, now: float) -> str:
    """Return OK or ALARM at a time; "as before" if too few samples keep the state."""
    states = {
        _Evaluation(alarm, published, now, missing_is_zero=zero, fills_empty=fills).state()
        for zero, fills in ((True, True), (True, False), (False, True))
    }
    assert len(states) == 1, f"{alarm['AlarmName']} depends on the treatment of missing points"
    return states.pop()


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
}


class _Evaluation:
    """One evaluation of one alarm."""

    def __init__(
        self,
        alarm: Mapping[str, Any],
        published: PublishedValues,
        now: float,
        *,
        missing_is_zero: bool,
        fills_empty: bool,
    ) -> None:
        self._alarm = alarm
        self._published = published
        self._stats = {stat.id: stat for stat in stats(alarm)}
        (self._period,) = {stat.period for stat in self._stats.values()}
        self._zero = missing_is_zero
        self._fills_empty = fills_empty
        until = int(now // self._period * self._period)
        back = (alarm["EvaluationPeriods"] + _EXTRA_POINTS) * self._period
        self._grid = range(until - back, until, self._period)

    def state(self) -> str:
        alarm, of = self._alarm, self._alarm["EvaluationPeriods"]
        if self._has_too_few_samples():
            return "as before"
        breaches = _COMPARISONS[alarm["ComparisonOperator"]]
        points = self._watched()
        recent = [breaches(points[at], alarm["Threshold"]) for at in sorted(points)][-of:]
        missing = {"breaching": True, "notBreaching": False}[alarm["TreatMissingData"]]
        recent += [missing] * (of - len(recent))
        return "ALARM" if recent.count(True) >= alarm["DatapointsToAlarm"] else "OK"

    def _has_too_few_samples(self) -> bool:
        if self._alarm.get("EvaluateLowSampleCountPercentile") != "ignore":
            return False
        (stat,) = self._stats.values()
        evaluated = self._grid[_EXTRA_POINTS:]
        samples = self._published.points(stat.identity, "SampleCount", evaluated)
        needed = 10 / (1 - float(stat.statistic[1:]) / 100)
        return bool(samples) and sum(samples.values()) < needed

    def _watched(self) -> Points:
        if "Metrics" not in self._alarm:
            return self._read("it")
        (watched,) = [each for each in self._alarm["Metrics"] if each["ReturnData"]]
        result = self._math(ast.parse(watched["Expression"], mode="eval").body)
        assert isinstance(result, dict), "an alarm watches a series"
        return result

    def _read(self, name: str) -> Points:
        stat = self._stats[name]
        return self._published.points(stat.identity, stat.statistic, self._grid)

    # Metric math.

    def _math(self, node: ast.expr) -> Points | float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                return self._read(name)
            case ast.BinOp(left=left, op=op, right=right):
                return self._each(_ARITHMETIC[type(op)], self._math(left), self._math(right))
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                compare = _COMPARE[type(op)]
                return self._each(
                    lambda a, b: float(compare(a, b)), self._math(left), self._math(right)
                )
            case ast.Call(func=ast.Name(id="FILL"), args=[series, filler]):
                points, value = self._math(series), self._math(filler)
                assert isinstance(points, dict)
                assert isinstance(value, float)
                if not points and not self._fills_empty:
                    return points
                return dict.fromkeys(self._grid, value) | points
            case ast.Call(func=ast.Name(id="PERIOD"), args=[ast.Name()]):
                return float(self._period)
            case ast.Call(func=ast.Name(id="IF"), args=[condition, *then]):
                return self._if(self._math(condition), [self._math(each) for each in then])
        raise AssertionError(f"not supported: {ast.unparse(node)}")

    def _each(
        self, do: Callable[[float, float], float], one: Points | float, other: Points | float
    ) -> Points | float:
        if isinstance(one, float) and isinstance(other, float):
            return do(one, other)
        known = [set(each) for each in (one, other) if isinstance(each, dict)]
        starts = set.union(*known) if self._zero else set.intersection(*known)
        made = {at: do(_at(one, at), _at(other, at)) for at in starts}
        return {at: value for at, value in made.items() if not math.isnan(value)}

    def _if(self, condition: Points | float, then: list[Points | float]) -> Points:
        """Apply IF as in the guide's tables: a true point without a value is 0; a false one without
        a value, and one without a condition, is missing."""
        assert isinstance(condition, dict)
        made = {}
        for at, true in condition.items():
            if true:
                made[at] = _at(then[0], at)
            elif len(then) > 1 and (isinstance(then[1], float) or at in then[1]):
                made[at] = _at(then[1], at)
        return made


def _at(value: Points | float, at: int) -> float:
    return value if isinstance(value, float) else value.get(at, 0.0)


_ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else math.nan,
}
_COMPARE: dict[type, Callable[[float, float], bool]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
}
