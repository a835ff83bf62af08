"""CloudWatch and STS as the doctor checks them: healthy, unreachable, and rejecting requests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from neuron_exporter.doctor import aws
from neuron_exporter.doctor.cloudwatch import check
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.scraped import ScrapedMetrics
from tests.support.doctor import make_context, seen_with
from tests.support.endpoint import Endpoint, reject
from tests.support.http import serving
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint

pytestmark = pytest.mark.usefixtures("fake_credentials")


@pytest.fixture
def front(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ValidatingEndpoint]:
    """Start a CloudWatch that rejects what AWS rejects; STS is moto's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    with validating_endpoint(moto) as started:
        yield started


def publishing_to(url: str, **settings: Any) -> Context:
    """Return the context of a machine that publishes to this URL."""
    defaults = {
        "cloudwatch__enabled": True,
        "cloudwatch__endpoint_url": url,
        "cloudwatch__region": "us-west-2",
        "identity__instance_id": "i-0123456789abcdef0",
        "identity__instance_type": "trn1.2xlarge",
        **settings,
    }
    return make_context(**defaults)


def problems(context: Context) -> list[Finding]:
    """Return all findings but the OK ones."""
    return [each for each in check(context) if each.verdict is not Verdict.OK]


def test_healthy(front: ValidatingEndpoint) -> None:
    """Dimension sets, endpoint, clock and credentials are reported, and no key."""
    findings = list(check(publishing_to(front.url)))
    assert {each.verdict for each in findings} == {Verdict.OK}
    sets, endpoint, clock, credentials = [each.seen for each in findings]
    assert sets == "complete dimension sets: InstanceId, InstanceType"
    assert endpoint == f"{front.url} answers"
    assert clock == "the clock agrees with CloudWatch's"
    assert credentials.startswith("credentials of the environment (AWS_ACCESS_KEY_ID): arn:aws:")
    assert front.requests == []


def test_send(front: ValidatingEndpoint) -> None:
    """With --send, CloudWatch accepts one datum with its own name and no dimensions."""
    context = publishing_to(front.url, cloudwatch__namespace="Doctor")
    context.send = True
    (seen,) = [each.seen for each in check(context) if "sent" in each.seen]
    assert seen == (
        "sent DoctorTest in namespace Doctor, billed as one metric for this hour (0.0004 USD at "
        "the first tier)"
    )
    (request,) = front.requests
    assert request["Namespace"] == "Doctor"
    (datum,) = request["MetricData"]
    assert datum["MetricName"] == aws.TEST_METRIC
    assert datum["Dimensions"] == []
    assert front.rejected == []


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("AccessDenied", "cloudwatch:namespace = NeuronExporter"),
        ("ExpiredToken", "have expired"),
        ("SignatureDoesNotMatch", "does not belong to the access key"),
        ("Odd", "check the endpoint"),
    ],
)
def test_rejected_datum(code: str, fix: str, front: ValidatingEndpoint) -> None:
    """The finding names the missing permission and the namespace."""
    front.answer = reject(403, code)
    context = publishing_to(front.url)
    context.send = True
    (finding,) = problems(context)
    assert finding.verdict is Verdict.FAILED
    assert finding.seen.endswith(f"was rejected: {code}")
    assert fix in finding.fix


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "ExpiredToken", "AccessDenied"])
def test_sts_rejects_credentials(
    code: str, front: ValidatingEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        (finding,) = problems(publishing_to(front.url))
    assert finding.verdict is Verdict.FAILED
    assert finding.seen.endswith(f"rejected by STS ({code})")
    assert finding.fix == aws._FIX_BY_CODE[code]
    assert "geheim" not in str(finding)


def test_no_credentials(front: ValidatingEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (finding,) = problems(publishing_to(front.url))
    assert finding.seen.startswith("no credentials")
    assert "taskRoleArn" in finding.fix


def test_unreachable_sts_is_a_warning(
    front: ValidatingEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{closed.getsockname()[1]}")
        (finding,) = problems(publishing_to(front.url))
    assert finding.verdict is Verdict.WARNING
    assert "STS cannot be reached (EndpointConnectionError)" in finding.seen


def test_incomplete_dimension_sets(front: ValidatingEndpoint) -> None:
    """A dropped set is a warning; no remaining set is a failure."""
    some = publishing_to(front.url, cloudwatch__dimension_sets=[["InstanceId"], ["ClusterName"]])
    assert seen_with(check(some), Verdict.WARNING) == [
        "1 of 2 dimension sets are not sent: ClusterName unknown"
    ]
    none = publishing_to(front.url, cloudwatch__dimension_sets=[["ClusterName"]])
    assert seen_with(check(none), Verdict.FAILED) == [
        "no dimension set is complete: ClusterName unknown; nothing is sent"
    ]


def test_identity_that_only_an_unreadable_exporter_knows() -> None:
    """What it may know is not reported as a failure."""
    context = make_context(
        cloudwatch__enabled=True, cloudwatch__allow_simulated=True, source__kind="simulator"
    )
    context.is_running = True
    sets, region = check(context)
    assert (sets.verdict, region.verdict) == (Verdict.SKIPPED, Verdict.SKIPPED)
    assert sets.seen.startswith("no dimension set is complete: InstanceId, InstanceType unknown")
    assert region.seen.startswith("the region is unknown here; the state of the running exporter")
    context.is_running = False
    assert [each.verdict for each in check(context)] == [Verdict.FAILED] * 2


def test_failures_beside_an_exporter_that_delivers(
    front: ValidatingEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are warnings about the same subjects."""
    monkeypatch.setattr(aws, "_MAX_SKEW", -1.0)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    context = publishing_to(front.url)
    found = [(each.subject, each.verdict) for each in problems(context)]
    assert found == [("clock", Verdict.FAILED), ("cloudwatch", Verdict.FAILED)]
    context.scraped = ScrapedMetrics(
        'neuron_exporter_build_info 1\nneuron_exporter_sink_up{sink="cloudwatch"} 1\n'
    )
    found = [(each.subject, each.verdict) for each in problems(context)]
    assert found == [("clock", Verdict.WARNING), ("cloudwatch", Verdict.WARNING)]


def test_budget_exceeded(front: ValidatingEndpoint) -> None:
    context = publishing_to(front.url)
    context.scraped = ScrapedMetrics(
        "neuron_exporter_build_info 1\n"
        "neuron_exporter_cloudwatch_budget_dropped_metrics 20\n"
        "neuron_exporter_cloudwatch_wanted_metrics 120\n"
    )
    assert seen_with(check(context), Verdict.WARNING) == [
        "20 of 120 metrics exceed the budget of 100: not published"
    ]


def test_nothing_to_send(endpoint: Endpoint) -> None:
    """No region, CloudWatch off, and transport emf are reported without a connection."""
    context = make_context(cloudwatch__enabled=True, cloudwatch__endpoint_url=endpoint.url)
    assert "the region is unknown: nothing can be sent" in seen_with(check(context), Verdict.FAILED)
    off = make_context()
    off.send = True
    assert seen_with(check(off), Verdict.SKIPPED) == [
        "cloudwatch.enabled is false: --send sends nothing"
    ]
    lines = make_context(
        cloudwatch__enabled=True, cloudwatch__transport="emf", identity__region="x-y-1"
    )
    assert "transport emf writes to standard output and needs no credentials" in seen_with(
        check(lines), Verdict.OK
    )
    assert endpoint.connections == 0
