"""CloudWatch and STS as the doctor meets them: well, closed, wrong, silent, and in another time."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from neuron_exporter.doctor import aws
from neuron_exporter.doctor.cloudwatch import examine
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.scraped import Exposed
from tests.support.doctoring import case, of
from tests.support.endpoint import Endpoint, refuse
from tests.support.http import serving
from tests.support.strict_front import StrictFront, strict_front

pytestmark = pytest.mark.usefixtures("nobodys_credentials")


@pytest.fixture
def front(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StrictFront]:
    """CloudWatch that refuses what AWS refuses; STS is moto's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    with strict_front(moto) as started:
        yield started


def on(url: str, **settings: Any) -> Case:
    """The case of a machine that sends there."""
    given = {
        "cloudwatch__enabled": True,
        "cloudwatch__endpoint_url": url,
        "cloudwatch__region": "us-west-2",
        "identity__instance_id": "i-0123456789abcdef0",
        "identity__instance_type": "trn1.2xlarge",
        **settings,
    }
    return case(**given)


def sick(told: Case) -> list[Finding]:
    """What is wrong."""
    return [each for each in examine(told) if each.verdict is not Verdict.OK]


def test_all_is_well(front: StrictFront) -> None:
    """Dimensions, endpoint, clock and credentials are each told; whose they are, and no key."""
    findings = list(examine(on(front.url)))
    assert {each.verdict for each in findings} == {Verdict.OK}
    sets, reached, clock, who = [each.seen for each in findings]
    assert sets == "complete dimension sets: InstanceId, InstanceType"
    assert reached == f"{front.url} answers"
    assert clock == "agrees with CloudWatch's"
    assert who.startswith("credentials of the environment (AWS_ACCESS_KEY_ID): arn:aws:")
    assert front.requests == []


def test_a_datum_is_sent_only_when_it_is_asked_for(front: StrictFront) -> None:
    """The one datum has a name of its own, no dimension, and is one that CloudWatch takes."""
    told = on(front.url, cloudwatch__namespace="Doctor")
    told.send = True
    (seen,) = [each.seen for each in examine(told) if "sent" in each.seen]
    assert seen == (
        "sent: DoctorTest in namespace Doctor, one metric for this hour (0.0004 USD at the first "
        "tier)"
    )
    (request,) = front.requests
    assert request["Namespace"] == "Doctor"
    (datum,) = request["MetricData"]
    assert datum["MetricName"] == aws.TEST_METRIC
    assert datum["Dimensions"] == []
    assert front.refused == []


def test_the_test_metric_is_none_that_is_published() -> None:
    """What alarms watch cannot be falsified."""
    from neuron_exporter.metrics.catalogue import CATALOGUE

    assert aws.TEST_METRIC not in {metric.name for row in CATALOGUE for metric in row.cloudwatch}


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("AccessDenied", "cloudwatch:namespace = NeuronExporter"),
        ("ExpiredToken", "have expired"),
        ("SignatureDoesNotMatch", "does not belong to the access key"),
        ("Odd", "see the endpoint"),
    ],
)
def test_a_refusal_is_explained(code: str, fix: str, front: StrictFront) -> None:
    """Who may not publish learns which right is missing, and for which namespace."""
    front.answer = refuse(403, code)
    told = on(front.url)
    told.send = True
    (finding,) = sick(told)
    assert finding.verdict is Verdict.FAILED
    assert finding.seen.endswith(f"was not taken: {code}")
    assert fix in finding.fix


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "ExpiredToken", "AccessDenied"])
def test_wrong_credentials(code: str, front: StrictFront, monkeypatch: pytest.MonkeyPatch) -> None:
    """What STS says of the credentials is told, with what it means."""
    body = (
        "<ErrorResponse><Error><Type>Sender</Type>"
        f"<Code>{code}</Code><Message>geheim</Message></Error></ErrorResponse>"
    )

    class Sts(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with serving(Sts) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        (finding,) = sick(on(front.url))
    assert finding.verdict is Verdict.FAILED
    assert finding.seen.endswith(f"refused by STS ({code})")
    assert finding.fix == aws._SECRETS_ARE_WRONG[code]
    assert "geheim" not in str(finding)


def test_no_credentials(front: StrictFront, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none are found, it is said where they could come from."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (finding,) = sick(on(front.url))
    assert finding.seen.startswith("no credentials")
    assert "taskRoleArn" in finding.fix


def test_sts_that_cannot_be_reached_is_no_failure(
    front: StrictFront, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publishing needs no STS, and a network may let nobody to it."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{closed.getsockname()[1]}")
        (finding,) = sick(on(front.url))
    assert finding.verdict is Verdict.WARNING
    assert "STS cannot be asked (EndpointConnectionError)" in finding.seen


@pytest.mark.parametrize(
    ("host", "why"), [("127.0.0.1:1", "Connection refused"), ("no.such.invalid", "")]
)
def test_an_endpoint_that_is_not_there(host: str, why: str, moto: str) -> None:
    """A closed port and a name that nobody knows are told as what they are; no password is."""
    finding = aws.reach(f"http://me:geheim@{host}/").finding
    assert finding.verdict is Verdict.FAILED
    assert f"http://{host} cannot be reached: {why}" in finding.seen
    assert "geheim" not in str(finding)


def test_an_endpoint_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left after seconds (here half of one)."""
    monkeypatch.setattr(aws, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = aws.reach(f"http://127.0.0.1:{silent.getsockname()[1]}").finding
    assert finding.verdict is Verdict.FAILED


@pytest.mark.parametrize("year", [2015, 2100])
def test_a_clock_that_breaks_signatures(year: int) -> None:
    """A clock that is years off CloudWatch's own is what is wrong, whatever else is refused."""

    class Late(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(403)
            self.send_header("Date", f"Fri, 02 Jan {year} 00:00:00 GMT")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Late) as url:
        (finding,) = aws.clock(aws.reach(url).skew)
    assert finding.verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("skew", "verdicts"),
    [
        (None, []),
        (1.0, [Verdict.OK]),
        (-61.0, [Verdict.WARNING]),
        (301.0, [Verdict.FAILED]),
    ],
)
def test_the_clock_is_judged_by_what_signatures_bear(
    skew: float | None, verdicts: list[Verdict]
) -> None:
    """Five minutes are the limit; what comes near is warned of, what is not known is not said."""
    assert [each.verdict for each in aws.clock(skew)] == verdicts


def test_dimension_sets_that_are_not_complete(front: StrictFront) -> None:
    """A set that is dropped is a warning with the fields that it lacks; none left is a failure."""
    some = on(front.url, cloudwatch__dimension_sets=[["InstanceId"], ["ClusterName"]])
    assert of(examine(some), Verdict.WARNING) == [
        "1 of 2 dimension sets are not sent: ClusterName not known"
    ]
    none = on(front.url, cloudwatch__dimension_sets=[["ClusterName"]])
    assert of(examine(none), Verdict.FAILED) == [
        "no dimension set is complete: ClusterName not known; nothing is sent"
    ]


def test_what_the_budget_drops(front: StrictFront) -> None:
    """What is not published for its price is told with the price's limit."""
    told = on(front.url)
    told.exposed = Exposed(
        "neuron_exporter_build_info 1\n"
        "neuron_exporter_cloudwatch_budget_dropped_metrics 20\n"
        "neuron_exporter_cloudwatch_wanted_metrics 120\n"
    )
    assert of(examine(told), Verdict.WARNING) == [
        "20 of 120 metrics are over the budget of 100: not published"
    ]


def test_without_a_region_and_without_cloudwatch(endpoint: Endpoint) -> None:
    """What cannot be sent, and what is not meant to be, is said before anybody is asked."""
    told = case(cloudwatch__enabled=True, cloudwatch__endpoint_url=endpoint.url)
    assert "the region is not known: nothing can be sent" in of(examine(told), Verdict.FAILED)
    off = case()
    off.send = True
    assert of(examine(off), Verdict.SKIPPED) == [
        "cloudwatch.enabled is false: --send sends nothing"
    ]
    lines = case(cloudwatch__enabled=True, cloudwatch__transport="emf", identity__region="x-y-1")
    assert "transport emf: lines on standard output need no credentials" in of(
        examine(lines), Verdict.OK
    )
    assert endpoint.connections == 0
