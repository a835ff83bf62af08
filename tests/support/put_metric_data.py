"""Validation of PutMetricData requests as AWS does it.

Limits and members are those of the CloudWatch API reference as botocore carries it. Where the
reference leaves something open, the narrow reading is taken: 1 MB is 1,000,000 bytes before gzip,
a namespace has the characters of the user guide, and a member that the model does not have is
rejected. `EntityMetricData` is rejected as well: the exporter does not send it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from functools import cache
from typing import Any

from botocore.loaders import Loader

MAX_BYTES = 1_000_000
MAX_DATUMS = 1000
MAX_DIMENSIONS = 30
MAX_VALUES = 150
MAX_NAME_LENGTH = 255
MAX_VALUE_LENGTH = 1024
FARTHEST = 2.0**360
MAX_AGE = 14 * 86400
MAX_AHEAD = 2 * 3600
RESOLUTIONS = (1, 60)

_NAMESPACE = re.compile(r"[A-Za-z0-9 ./#:_-]+")
_KINDS = ("Value", "Values", "StatisticValues")
_BAD = "InvalidParameterValue"
_CLASH = "InvalidParameterCombination"
_MISSING = "MissingParameter"
_MALFORMED = "SerializationException"


class Rejected(Exception):
    """A rejection: AWS's error code, the HTTP status, and a message with the place."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    def __str__(self) -> str:
        return f"{self.code}: {self.args[0]}"


@cache
def _shapes() -> dict[str, Any]:
    shapes: dict[str, Any] = Loader().load_service_model("cloudwatch", "service-2")["shapes"]
    return shapes


@cache
def units() -> frozenset[str]:
    """Return all units."""
    return frozenset(_shapes()["StandardUnit"]["enum"])


@cache
def members(shape: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the allowed and the required members of a structure of the API."""
    model = _shapes()[shape]
    return frozenset(model["members"]), tuple(model.get("required", ()))


def check(request: Any, now: float) -> None:
    """Check a decoded request at a time (Unix seconds).

    Raises:
        Rejected: for the first error that AWS would report.
    """
    _structure(request, "", "PutMetricDataInput")
    _namespace(request["Namespace"])
    if "EntityMetricData" in request:
        raise Rejected(_BAD, "EntityMetricData: is not known here")
    if not request.get("MetricData"):
        raise Rejected(_MISSING, "MetricData: must have at least one datum")
    datums = _list(request["MetricData"], "MetricData")
    if len(datums) > MAX_DATUMS:
        raise Rejected(_BAD, f"MetricData: at most {MAX_DATUMS} (got {len(datums)})")
    for place, datum in _numbered(datums, "MetricData"):
        _datum(datum, place, now)


def _datum(datum: Any, place: str, now: float) -> None:
    _structure(datum, place, "MetricDatum")
    _text(datum["MetricName"], f"{place}.MetricName", MAX_NAME_LENGTH)
    _dimensions(datum.get("Dimensions", []), f"{place}.Dimensions")
    if "Timestamp" in datum:
        _timestamp(datum["Timestamp"], f"{place}.Timestamp", now)
    if "Unit" in datum:
        _one_of(_string(datum["Unit"], f"{place}.Unit"), units(), f"{place}.Unit")
    if "StorageResolution" in datum:
        at = f"{place}.StorageResolution"
        _one_of(_whole(datum["StorageResolution"], at), RESOLUTIONS, at)
    given = [kind for kind in _KINDS if kind in datum]
    if not given:
        raise Rejected(_MISSING, f"{place}: must have one of {', '.join(_KINDS)}")
    if len(given) > 1:
        raise Rejected(_CLASH, f"{place}: {' and '.join(given)} exclude each other")
    if "Counts" in datum and "Values" not in datum:
        raise Rejected(_CLASH, f"{place}.Counts: only with Values")
    if "Value" in datum:
        _value(datum["Value"], f"{place}.Value")
    elif "Values" in datum:
        _values(datum, place)
    else:
        _statistics(datum["StatisticValues"], f"{place}.StatisticValues")


def _namespace(namespace: Any) -> None:
    _text(namespace, "Namespace", MAX_NAME_LENGTH)
    if namespace.startswith((":", "AWS/")):
        raise Rejected(_BAD, f"Namespace: must not start with : or AWS/ (got {namespace!r})")
    if not _NAMESPACE.fullmatch(namespace):
        raise Rejected(_BAD, f"Namespace: must match {_NAMESPACE.pattern} (got {namespace!r})")


def _dimensions(dimensions: Any, place: str) -> None:
    seen = set()
    found = _list(dimensions, place)
    if len(found) > MAX_DIMENSIONS:
        raise Rejected(_BAD, f"{place}: at most {MAX_DIMENSIONS} (got {len(found)})")
    for at, dimension in _numbered(found, place):
        _structure(dimension, at, "Dimension")
        name = dimension["Name"]
        _text(name, f"{at}.Name", MAX_NAME_LENGTH)
        _text(dimension["Value"], f"{at}.Value", MAX_VALUE_LENGTH)
        if name.startswith(":"):
            raise Rejected(_BAD, f"{at}.Name: must not start with : (got {name!r})")
        if name in seen:
            raise Rejected(_BAD, f"{at}.Name: a dimension is there twice (got {name!r})")
        seen.add(name)


def _timestamp(stamp: Any, place: str, now: float) -> None:
    age = now - _number(stamp, place)
    if not -MAX_AHEAD <= age <= MAX_AGE:
        where = f"{age:.0f} s ago" if age > 0 else f"{-age:.0f} s ahead"
        raise Rejected(
            _BAD, f"{place}: at most two weeks ago and two hours ahead (got {stamp!r}: {where})"
        )


def _values(datum: dict[str, Any], place: str) -> None:
    values = _list(datum["Values"], f"{place}.Values")
    if not 1 <= len(values) <= MAX_VALUES:
        raise Rejected(_BAD, f"{place}.Values: from 1 to {MAX_VALUES} (got {len(values)})")
    for at, value in _numbered(values, f"{place}.Values"):
        _value(value, at)
    if "Counts" not in datum:
        return
    counts = _list(datum["Counts"], f"{place}.Counts")
    if len(counts) != len(values):
        wanted = f"as many as there are Values, {len(values)}"
        raise Rejected(_BAD, f"{place}.Counts: must be {wanted} (got {len(counts)})")
    for at, count in _numbered(counts, f"{place}.Counts"):
        _value(count, at)
        if count <= 0:
            raise Rejected(_BAD, f"{at}: must be above 0 (got {count!r})")


def _statistics(statistics: Any, place: str) -> None:
    _structure(statistics, place, "StatisticSet")
    for name, value in statistics.items():
        _value(value, f"{place}.{name}")
    if statistics["SampleCount"] <= 0:
        got = statistics["SampleCount"]
        raise Rejected(_BAD, f"{place}.SampleCount: must be above 0 (got {got!r})")
    if statistics["Minimum"] > statistics["Maximum"]:
        raise Rejected(_BAD, f"{place}.Minimum: must not be above Maximum")


# Types


def _structure(given: Any, place: str, shape: str) -> None:
    where = place or "the request"
    if not isinstance(given, dict):
        raise Rejected(_MALFORMED, f"{where}: must be a structure (got {given!r})")
    known, required = members(shape)
    for name in given:
        if name not in known:
            raise Rejected(_MALFORMED, f"{where}: has no member {name!r}")
    for name in required:
        if name not in given:
            raise Rejected(_MISSING, f"{where}: must have {name}")


def _list(given: Any, place: str) -> list[Any]:
    if not isinstance(given, list):
        raise Rejected(_MALFORMED, f"{place}: must be a list (got {given!r})")
    return given


def _numbered(given: list[Any], place: str) -> list[tuple[str, Any]]:
    """Items with their places, as AWS names them."""
    return [(f"{place}.member.{number}", item) for number, item in enumerate(given, 1)]


def _string(given: Any, place: str) -> str:
    if not isinstance(given, str):
        raise Rejected(_MALFORMED, f"{place}: must be a string (got {given!r})")
    return given


def _text(given: Any, place: str, max_length: int) -> None:
    text = _string(given, place)
    if not 1 <= len(text) <= max_length:
        raise Rejected(_BAD, f"{place}: must have 1 to {max_length} characters (got {len(text)})")
    if not text.isascii() or not text.isprintable():
        raise Rejected(_BAD, f"{place}: must be ASCII without control characters (got {text!r})")
    if not text.strip():
        raise Rejected(_BAD, f"{place}: must not be blank (got {text!r})")


def _number(given: Any, place: str) -> float:
    if given in ("NaN", "Infinity", "-Infinity"):  # as JSON carries them
        given = float(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Rejected(_MALFORMED, f"{place}: must be a number (got {given!r})")
    if isinstance(given, float) and not math.isfinite(given):
        raise Rejected(_BAD, f"{place}: must be finite (got {given!r})")
    return given


def _whole(given: Any, place: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int):
        raise Rejected(_MALFORMED, f"{place}: must be a whole number (got {given!r})")
    return given


def _value(given: Any, place: str) -> None:
    if abs(_number(given, place)) > FARTHEST:
        raise Rejected(_BAD, f"{place}: must be from -2^360 to 2^360 (got {given!r})")


def _one_of(given: object, allowed: Collection[object], place: str) -> None:
    if given not in allowed:
        names = ", ".join(map(str, sorted(allowed, key=str)))
        raise Rejected(_BAD, f"{place}: must be one of {names} (got {given!r})")
