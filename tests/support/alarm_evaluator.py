"""CloudWatch's part: what alarms make of what was published.

After the user guide (AlarmThatSendsEmail, using-metric-math, percentiles-with-low-samples), as far
as the alarms need it; anything else is an error. Two points are open: whether arithmetic with a
missing point takes it as 0 (the guide) or has no result (reports of users), and whether FILL fills
a series that has no point at all. Every verdict here is the same either way, or an error.
"""

from __future__ import annotations

import ast
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

_RETRIEVED_BESIDE = 2
"""Points that are looked at beyond the evaluation periods: 5 for 3, in the guide's examples."""

Points = dict[int, float]
"""A value for each start of a period (s); where there is none, the key is missing."""


class Identity(NamedTuple):
    """What selects a series: an alarm that differs in anything finds nothing."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]
    unit: str


class Published:
    """All values that were published, as PutMetricData had them."""

    def __init__(self, requests: Iterable[Mapping[str, Any]]) -> None:
        self.series: defaultdict[Identity, list[tuple[float, float, float]]] = defaultdict(list)
        for request in requests:
            for datum in request["MetricData"]:
                identity = Identity(
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

    def add(self, identity: Identity, stamp: float, value: float) -> None:
        """A value that somebody else publishes: the count of a scaling group."""
        self.series[identity].append((stamp, value, 1.0))

    def points(self, identity: Identity, statistic: str, grid: range) -> Points:
        """A statistic for each period of a grid in which something was published."""
        gathered: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
        for stamp, value, count in self.series.get(identity, ()):
            if grid.start <= stamp < grid.stop:
                at = int((stamp - grid.start) // grid.step)
                gathered[grid[at]].append((value, count))
        return {at: _statistic(statistic, values) for at, values in gathered.items()}

    def select(self, identity: Identity) -> bool:
        """Whether there is such a series."""
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
    rank, seen = float(name[1:]) / 100 * samples, 0.0
    for value, count in sorted(values):
        seen += count
        if seen >= rank:
            return value
    raise AssertionError("no values")


# Which series an alarm reads


class Stat(NamedTuple):
    """One series that an alarm reads, by the statistic that it reads."""

    id: str
    identity: Identity
    statistic: str
    period: int


def stats(alarm: Mapping[str, Any]) -> list[Stat]:
    """The series that an alarm reads."""
    if "Metrics" not in alarm:
        statistic = alarm.get("Statistic") or alarm["ExtendedStatistic"]
        return [Stat("it", _identity(alarm, alarm), statistic, alarm["Period"])]
    found = [(each["Id"], each["MetricStat"]) for each in alarm["Metrics"] if "MetricStat" in each]
    return [
        Stat(name, _identity(stat["Metric"], stat), stat["Stat"], stat["Period"])
        for name, stat in found
    ]


def _identity(metric: Mapping[str, Any], holder: Mapping[str, Any]) -> Identity:
    pairs = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
    unit = holder.get("Unit", "None")
    return Identity(metric["Namespace"], metric["MetricName"], pairs, unit)


# The state


def state(alarm: Mapping[str, Any], published: Published, now: float) -> str:
    """OK or ALARM at that moment; "as before" where too few samples leave it as it was."""
    verdicts = {
        _Evaluation(alarm, published, now, missing_is_zero=zero, fills_empty=fills).state()
        for zero, fills in ((True, True), (True, False), (False, True))
    }
    assert len(verdicts) == 1, f"{alarm['AlarmName']} depends on what is made of missing points"
    return verdicts.pop()


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
        published: Published,
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
        back = (alarm["EvaluationPeriods"] + _RETRIEVED_BESIDE) * self._period
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
        evaluated = self._grid[_RETRIEVED_BESIDE:]
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
        raise AssertionError(f"not known here: {ast.unparse(node)}")

    def _each(
        self, do: Callable[[float, float], float], one: Points | float, other: Points | float
    ) -> Points | float:
        if isinstance(one, float) and isinstance(other, float):
            return do(one, other)
        known = [set(each) for each in (one, other) if isinstance(each, dict)]
        places = set.union(*known) if self._zero else set.intersection(*known)
        made = {at: do(_at(one, at), _at(other, at)) for at in places}
        return {at: value for at, value in made.items() if not math.isnan(value)}

    def _if(self, condition: Points | float, then: list[Points | float]) -> Points:
        """By the guide's tables: a point that is true has 0 where there is nothing to take, one
        that is false is dropped, and so is one without a condition."""
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
