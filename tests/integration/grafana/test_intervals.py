"""Steps and windows of queries, as Grafana's documentation and data source calculate them."""

from __future__ import annotations

import pytest

from tests.support.grafana_intervals import Interval, builtin_values, interval, seconds

HOUR = 3600


@pytest.mark.parametrize(
    ("time_range", "points", "scrape", "minimum", "expected"),
    [
        (HOUR, 1000, 15, "", Interval(15, 60)),  # never below the scrape interval
        (6 * HOUR, 1000, 15, "", Interval(20, 60)),  # 21.6 s is rounded to 20 s
        (
            24 * HOUR,
            500,
            15,
            "",
            Interval(120, 135),
        ),  # one step and one scrape are longer than four
        (HOUR, 1000, 15, "1m", Interval(60, 240)),  # a query's own minimum is its scrape interval
        (HOUR, 1000, 15, "$__rate_interval", Interval(60, 60)),
    ],
)
def test_interval(
    time_range: float, points: float, scrape: float, minimum: str, expected: Interval
) -> None:
    assert interval(time_range, points, scrape, minimum) == expected


def test_builtin_variables() -> None:
    values = builtin_values(Interval(15, 60), HOUR)
    assert seconds(values["__rate_interval"]) == 60
    assert seconds(values["__interval"]) == 15
    assert seconds(values["__range"]) == HOUR
    assert values["__range_s"] == "3600"
