"""The tests' own CloudWatch refuses the datums that AWS refuses, and lets in all others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.put_metric_data import FARTHEST, units
from tests.support.put_requests import (
    ABSENT,
    NOW,
    Datum,
    connected,
    datum,
    dimension,
    dimensions,
    put,
    statistics,
    values,
)
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint


@pytest.fixture(scope="module")
def server() -> Iterator[ValidatingEndpoint]:
    """One front for all, with its own time."""
    with validating_endpoint(clock=lambda: NOW) as front:
        yield front


@pytest.fixture
def front(server: ValidatingEndpoint) -> ValidatingEndpoint:
    """The front, without what others sent."""
    for kept in (server.rejected, server.requests):
        kept.clear()
    return server


@pytest.fixture(scope="module")
def client(server: ValidatingEndpoint) -> Iterator[Any]:
    """A client of the front."""
    with connected(server.url) as made:
        yield made


VALUE, CLASH, MISSING = (
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "MissingParameter",
)

REFUSED_DATUMS: dict[str, tuple[str, str, Datum]] = {
    "name empty": (VALUE, "MetricName: must have", datum(MetricName="")),
    "name too long": (VALUE, "MetricName: must have", datum(MetricName="n" * 256)),
    "name blank": (VALUE, "MetricName: must not be blank", datum(MetricName="  ")),
    "name not ASCII": (VALUE, "MetricName: must be ASCII", datum(MetricName="Größe")),
    "name with control": (VALUE, "MetricName: must be ASCII", datum(MetricName="a\nb")),
    "no name": (MISSING, "must have MetricName", datum(MetricName=ABSENT)),
    "31 dimensions": (VALUE, "Dimensions: at most 30 (got 31)", dimensions(31)),
    "dimension's name empty": (VALUE, "member.1.Name: must have", dimension(name="")),
    "dimension's name blank": (VALUE, "member.1.Name: must not be", dimension(name=" ")),
    "dimension's name long": (VALUE, "member.1.Name: must have", dimension(name="n" * 256)),
    "dimension's name not ASCII": (VALUE, "member.1.Name: must be ASCII", dimension(name="é")),
    "dimension's name with control": (VALUE, "Name: must be ASCII", dimension(name="a\x00")),
    "dimension's name with colon": (VALUE, "Name: must not start with :", dimension(name=":a")),
    "dimension's value empty": (VALUE, "member.1.Value: must have", dimension(value="")),
    "dimension's value blank": (VALUE, "member.1.Value: must not be", dimension(value=" ")),
    "dimension's value long": (VALUE, "member.1.Value: must have", dimension(value="v" * 1025)),
    "dimension's value not ASCII": (VALUE, "Value: must be ASCII", dimension(value="é")),
    "dimension's value with control": (VALUE, "Value: must be ASCII", dimension(value="a\x7f")),
    "dimension twice": (
        VALUE,
        "member.2.Name: a dimension is there twice (got 'A')",
        datum(Dimensions=[{"Name": "A", "Value": "b"}, {"Name": "A", "Value": "c"}]),
    ),
    "dimension without value": (
        MISSING,
        "Dimensions.member.1: must have Value",
        datum(Dimensions=[{"Name": "A"}]),
    ),
    "unknown unit": (VALUE, "Unit: must be one of Bits, ", datum(Unit="Furlongs")),
    "unit in other letters": (VALUE, "Unit: must be one of", datum(Unit="percent")),
    "unit empty": (VALUE, "Unit: must be one of", datum(Unit="")),
    "no value": (MISSING, "member.2: must have one of Value, ", datum(Value=ABSENT)),
    "value and values": (CLASH, "Value and Values exclude", datum(Values=[1.0])),
    "value and statistics": (
        CLASH,
        "Value and StatisticValues exclude",
        {**statistics(), "Value": 1.0},
    ),
    "values and statistics": (
        CLASH,
        "Values and StatisticValues exclude",
        {**statistics(), "Values": [1.0]},
    ),
    "151 values": (VALUE, "Values: from 1 to 150 (got 151)", values(151)),
    "no values": (VALUE, "Values: from 1 to 150 (got 0)", values(0)),
    "fewer counts": (VALUE, "Counts: must be as many", values(2, Counts=[1.0])),
    "more counts": (VALUE, "Counts: must be as many", values(1, Counts=[1.0, 1.0])),
    "count of zero": (VALUE, "Counts.member.2: must be above 0", values(2, Counts=[1.0, 0.0])),
    "count below zero": (VALUE, "Counts.member.1: must be above 0", values(1, Counts=[-1.0])),
    "counts without values": (CLASH, "Counts: only with Values", datum(Counts=[1.0])),
    "not a number": (VALUE, ".Value: must be finite", datum(Value=float("nan"))),
    "infinite": (VALUE, ".Value: must be finite", datum(Value=float("inf"))),
    "infinite below": (VALUE, ".Value: must be finite", datum(Value=float("-inf"))),
    "too large": (VALUE, ".Value: must be from -2^360", datum(Value=FARTHEST * 1.0001)),
    "too small": (VALUE, ".Value: must be from -2^360", datum(Value=-FARTHEST * 1.0001)),
    "one of the values is no number": (
        VALUE,
        "Values.member.2: must be finite",
        datum(Value=ABSENT, Values=[1.0, float("nan")]),
    ),
    "one of the values is too large": (
        VALUE,
        "Values.member.1: must be from -2^360",
        datum(Value=ABSENT, Values=[2 * FARTHEST]),
    ),
    "count is no number": (
        VALUE,
        "Counts.member.1: must be finite",
        values(1, Counts=[float("nan")]),
    ),
    "statistics without a part": (MISSING, "must have Sum", statistics(Sum=ABSENT)),
    "statistics of nothing": (VALUE, "SampleCount: must be", statistics(SampleCount=0.0)),
    "statistics upside down": (VALUE, "Minimum: must not be", statistics(Minimum=9.0)),
    "statistics that are too large": (VALUE, "Sum: must be from", statistics(Sum=2 * FARTHEST)),
    "resolution of 30": (VALUE, "must be one of 1, 60 (got 30)", datum(StorageResolution=30)),
    "two weeks and a second ago": (VALUE, "1209601 s ago", datum(Timestamp=NOW - 1_209_601)),
    "two hours and a second ahead": (VALUE, "7201 s ahead", datum(Timestamp=NOW + 7201)),
}


@pytest.mark.parametrize(
    ("code", "message", "wrong"), REFUSED_DATUMS.values(), ids=REFUSED_DATUMS.keys()
)
def test_a_wrong_datum_is_refused(
    front: ValidatingEndpoint, client: Any, code: str, message: str, wrong: Datum
) -> None:
    """One wrong datum costs the request: the response names its place, and nothing is stored."""
    with pytest.raises(ClientError) as caught:
        put(client, datum(), wrong)
    answer = caught.value.response
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert answer["Error"]["Code"] == code
    reported = answer["Error"]["Message"]
    assert reported.startswith("MetricData.member.2")
    assert message in reported
    assert front.rejected == [f"{code}: {reported}"]
    assert front.requests == []


@pytest.mark.parametrize(
    "namespace", ["", " ", "n" * 256, ":mine", "AWS/EC2", "Größe", "a\tb", "a*b", "a,b"]
)
def test_a_wrong_namespace_is_refused(
    front: ValidatingEndpoint, client: Any, namespace: str
) -> None:
    """Also one that is AWS's own, or has characters that none may have."""
    with pytest.raises(ClientError, match=r"InvalidParameterValue.*Namespace: must") as caught:
        put(client, datum(), namespace=namespace)
    assert caught.value.response["Error"]["Code"] == VALUE
    assert len(front.rejected) == 1


def test_the_number_of_datums_is_limited(front: ValidatingEndpoint, client: Any) -> None:
    """A thousand are let in; one more is not, and none is not."""
    put(client, *[datum()] * 1000)
    with pytest.raises(ClientError, match=r"MetricData: at most 1000 \(got 1001\)"):
        put(client, *[datum()] * 1001)
    with pytest.raises(ClientError, match="MetricData: must have at least one datum"):
        put(client)
    assert len(front.datums("NeuronCoreUtilization")) == 1000


LEGAL: dict[str, Datum] = {
    "usual": datum(),
    "bare": {"MetricName": "n", "Value": 1},
    "longest name": datum(MetricName="n" * 255),
    "30 dimensions": dimensions(30),
    "longest dimension": dimension("n" * 255, "v" * 1024),
    "colon in a dimension": dimension("a:b", ":c"),
    "150 values": values(150),
    "values that repeat": datum(Value=ABSENT, Values=[1.0, 1.0], Counts=[1.0, 2.0]),
    "part of a count": values(1, Counts=[0.5]),
    "highest": datum(Value=FARTHEST),
    "lowest": datum(Value=-FARTHEST),
    "extremes of values": datum(Value=ABSENT, Values=[FARTHEST, -FARTHEST, 0.0, 5e-324]),
    "statistics": statistics(),
    "high resolution": datum(StorageResolution=1),
    "usual resolution": datum(StorageResolution=60),
    "two weeks ago": datum(Timestamp=NOW - 14 * 86400),
    "two hours ahead": datum(Timestamp=NOW + 7200),
    "no unit": datum(Unit=ABSENT),
}


@pytest.mark.parametrize("legal", LEGAL.values(), ids=LEGAL.keys())
def test_what_is_just_legal_is_let_in(front: ValidatingEndpoint, client: Any, legal: Datum) -> None:
    """At the bound nothing is refused yet, and what came is kept as it came."""
    put(client, legal)
    assert front.rejected == []
    assert front.datums(legal["MetricName"]) == [legal]


def test_every_unit_is_let_in(front: ValidatingEndpoint, client: Any) -> None:
    """CloudWatch has twenty-seven of them."""
    assert len(units()) == 27
    put(client, *(datum(MetricName=unit, Unit=unit) for unit in sorted(units())))
    assert front.rejected == []


@pytest.mark.parametrize("namespace", ["n" * 255, "A-z0.9_/#: x", "aws/mine", "MyAWS/EC2"])
def test_an_unusual_namespace_is_let_in(
    front: ValidatingEndpoint, client: Any, namespace: str
) -> None:
    """Whatever the user guide allows."""
    put(client, datum(), namespace=namespace)
    assert front.requests[0]["Namespace"] == namespace
