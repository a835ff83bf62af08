"""The evaluator of alarms, compared with the tables of the user guide."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.alarm_evaluator import PublishedValues, SeriesKey, state

NOW = 600_000
PERIOD = 60


def published(**series: str) -> PublishedValues:
    """Parse series as the guide draws them: one value per period, "-" for none, the last one just
    ended."""
    made = PublishedValues([])
    for name, drawn in series.items():
        values = drawn.split()
        for at, value in enumerate(values):
            if value != "-":
                stamp = NOW - PERIOD * (len(values) - at)
                made.add(identity(name), stamp, float(value))
    return made


def identity(name: str) -> SeriesKey:
    """Return the key of a series."""
    return SeriesKey("N", name, frozenset(), "None")


def alarm(of: int, datapoints: int, missing: str, **more: Any) -> dict[str, Any]:
    """Return an alarm on values above 0.5 of the series m1."""
    return {
        "AlarmName": "a",
        "Namespace": "N",
        "MetricName": "m1",
        "Dimensions": [],
        "Statistic": "Sum",
        "Period": PERIOD,
        "EvaluationPeriods": of,
        "DatapointsToAlarm": datapoints,
        "Threshold": 0.5,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": missing,
        **more,
    }


@pytest.mark.parametrize(
    ("datapoints", "drawn", "breaching", "not_breaching"),
    [
        (3, "0 - 1 - 1", "OK", "OK"),
        (3, "0 - - - -", "OK", "OK"),
        (3, "- - - - -", "ALARM", "OK"),
        (3, "0 1 1 - 1", "ALARM", "ALARM"),
        (3, "- - - - 1", "ALARM", "OK"),
        (3, "1 - - - -", "ALARM", "OK"),
        (2, "0 - 1 - 1", "ALARM", "ALARM"),
        (2, "0 0 1 0 1", "ALARM", "ALARM"),
        (2, "0 - 1 - -", "ALARM", "OK"),
        (2, "- - - - 0", "ALARM", "OK"),
        (2, "- - - - 1", "ALARM", "OK"),
    ],
)
def test_missing_data(datapoints: int, drawn: str, breaching: str, not_breaching: str) -> None:
    """Both tables of AlarmThatSendsEmail, for three periods."""
    values = published(m1=drawn)
    assert state(alarm(3, datapoints, "breaching"), values, NOW) == breaching
    assert state(alarm(3, datapoints, "notBreaching"), values, NOW) == not_breaching


def metrics(expression: str, *names: str) -> list[dict[str, Any]]:
    """Return the queries of an expression on these series."""
    made = []
    for name in names:
        metric = {"Namespace": "N", "MetricName": name, "Dimensions": []}
        stat = {"Metric": metric, "Period": PERIOD, "Stat": "Sum"}
        made.append({"Id": name, "MetricStat": stat, "ReturnData": False})
    return [{"Id": "watched", "Expression": expression, "ReturnData": True}, *made]


def watched(expression: str, above: float, **series: str) -> list[bool]:
    """Return, for each of five periods, whether the expression has a point above a value."""
    queries = metrics(expression, *series)
    found = []
    for at in range(5):
        latest = {name: drawn.split()[at] for name, drawn in series.items()}
        made = alarm(1, 1, "notBreaching", Metrics=queries, Threshold=above)
        found.append(state(made, published(**latest), NOW) == "ALARM")
    return found


@pytest.mark.parametrize(
    ("expression", "series", "values"),
    [
        (
            "IF(m1, m2, m3)",
            {"m1": "1 1 0 0 -", "m2": "30 - 0 0 30", "m3": "0 0 20 - 20"},
            "30 0 20 - -",
        ),
        ("IF(m1, 5, m3)", {"m1": "1 1 0 0 -", "m3": "0 0 20 - 20"}, "5 5 20 - -"),
        ("IF(m1, m2, 5)", {"m1": "1 1 0 0 -", "m2": "30 - 0 0 30"}, "30 0 5 5 -"),
        ("IF(m1 > 15, m1)", {"m1": "30 15 16 - 0"}, "30 - 16 - -"),
        ("m1 * 2 / 4 - 1 + 0", {"m1": "2 - 4 8 -"}, "0 - 1 3 -"),
        ("m1 / m2", {"m1": "6 6 0 1 -", "m2": "3 0 2 2 -"}, "2 - 0 .5 -"),
        ("m1 / PERIOD(m1)", {"m1": "60 120 - - 6"}, "1 2 - - .1"),
    ],
)
def test_metric_math(expression: str, series: dict[str, str], values: str) -> None:
    """The tables of using-metric-math, point by point."""
    wanted = [None if each == "-" else float(each) for each in values.split()]
    for above in (-1000.0, -0.01, 0.25, 1.5, 4.0, 25.0):
        expected = [each is not None and each > above for each in wanted]
        assert watched(expression, above, **series) == expected


@pytest.mark.parametrize(("datapoints", "expected"), [(3, "ALARM"), (4, "OK")])
def test_fill(datapoints: int, expected: str) -> None:
    made = alarm(5, datapoints, "notBreaching", Metrics=metrics("FILL(m1, 7)", "m1"), Threshold=6)
    assert state(made, published(m1="2 - 4 - -"), NOW) == expected


def test_uncertain_result_is_an_error() -> None:
    with pytest.raises(AssertionError, match="depends on the treatment of missing"):
        watched("m1 - m2", 0.5, m1="1 1 1 1 1", m2="0 - 0 0 0")


@pytest.mark.parametrize(
    ("statistic", "value"),
    [
        ("Sum", 505),
        ("Average", 5.05),
        ("SampleCount", 100),
        ("Maximum", 10),
        ("p50", 5),
        ("p99", 5),
    ],
)
def test_statistics_use_counts(statistic: str, value: float) -> None:
    stamp = NOW - PERIOD
    datum = {"MetricName": "m1", "Dimensions": [], "Timestamp": stamp, "Unit": "None"}
    values = PublishedValues(
        [{"Namespace": "N", "MetricData": [{**datum, "Values": [5, 10], "Counts": [99, 1]}]}]
    )
    found = values.points(identity("m1"), statistic, range(stamp, NOW, PERIOD))
    assert found == {stamp: pytest.approx(value)}
    assert values.points(identity("m2"), statistic, range(stamp, NOW, PERIOD)) == {}


@pytest.mark.parametrize(("count", "expected"), [(332, "as before"), (334, "ALARM")])
def test_too_few_samples_keep_the_state(count: int, expected: str) -> None:
    drawn = PublishedValues([])
    for at in range(3):
        drawn.series[identity("m1")].append((NOW - PERIOD * (at + 1), 1.0, float(count)))
    low = {"Statistic": None, "ExtendedStatistic": "p99"}
    ignoring = alarm(3, 3, "notBreaching", EvaluateLowSampleCountPercentile="ignore", **low)
    assert state(ignoring, drawn, NOW) == expected
    assert state(alarm(3, 3, "notBreaching", **low), drawn, NOW) == "ALARM"
