"""Steps and windows of queries, as Grafana's Prometheus data source calculates them."""

from __future__ import annotations

import re
from typing import NamedTuple

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604_800, "y": 31_536_000}

_ROUND = (
    (0.01, 0.001), (0.015, 0.01), (0.035, 0.02), (0.075, 0.05), (0.15, 0.1), (0.35, 0.2),
    (0.75, 0.5), (1.5, 1), (3.5, 2), (7.5, 5), (12.5, 10), (17.5, 15), (25, 20), (45, 30),
    (90, 60), (210, 120), (450, 300), (750, 600), (1050, 900), (1500, 1200), (2700, 1800),
    (5400, 3600), (9000, 7200), (16_200, 10_800), (32_400, 21_600), (86_400, 43_200),
    (604_800, 86_400), (1_814_400, 604_800), (3_628_800, 2_592_000),
)  # fmt: skip
"""Upper bounds of exact intervals in seconds, and the intervals to which Grafana rounds them."""

_LONGEST = 31_536_000
_MAX_POINTS = 11_000
"""Points that Prometheus returns at most for a series."""


class Interval(NamedTuple):
    """Seconds between two points, and the window of rates."""

    step: float
    rate: float


def seconds(text: str) -> float:
    """Return a duration, such as 1m30s, in seconds; 0 if there is none."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", text)
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def interval(
    time_range: float, points: float, scrape_interval: float, minimum: str = ""
) -> Interval:
    """Return the interval of a query.

    Args:
        time_range: seconds that the dashboard shows.
        points: number of points that the panel can draw, about one per pixel.
        minimum: the query's own minimum step, which may be `$__rate_interval`.
    """
    is_variable = "__" in minimum
    scrape = (0 if is_variable else seconds(minimum)) or scrape_interval
    step = max(_rounded(time_range / points), _rounded(time_range / _MAX_POINTS), scrape)
    rate = max(step + scrape, 4 * scrape)
    return Interval(rate if "rate_interval" in minimum else step, rate)


def _rounded(exact: float) -> float:
    return next((value for limit, value in _ROUND if exact <= limit), _LONGEST)


def builtin_values(found: Interval, time_range: float) -> dict[str, str]:
    """Return the values of Grafana's built-in variables."""
    return {
        "__rate_interval": _milliseconds(found.rate),
        "__interval": _milliseconds(found.step),
        "__interval_ms": f"{found.step * 1000:.0f}",
        "__range": f"{time_range:.0f}s",
        "__range_s": f"{time_range:.0f}",
        "__range_ms": f"{time_range * 1000:.0f}",
    }


def _milliseconds(value: float) -> str:
    return f"{value * 1000:.0f}ms"
