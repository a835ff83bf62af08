"""The endpoint and the clock of CloudWatch, as the doctor checks them."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler

import pytest

from neuron_exporter.doctor import aws
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.metrics.catalogue import CATALOGUE
from tests.support.http import serving

pytestmark = pytest.mark.usefixtures("fake_credentials")


def test_test_metric_is_not_published() -> None:
    assert aws.TEST_METRIC not in {metric.name for row in CATALOGUE for metric in row.cloudwatch}


@pytest.mark.parametrize(
    ("host", "reason"), [("127.0.0.1:1", "Connection refused"), ("no.such.invalid", "")]
)
def test_unreachable_endpoint(host: str, reason: str, moto: str) -> None:
    """A closed port and an unknown host name are reported, without the password of the URL."""
    finding = aws.check_endpoint(f"http://me:geheim@{host}/").finding
    assert finding.verdict is Verdict.FAILED
    assert f"http://{host} cannot be reached: {reason}" in finding.seen
    assert "geheim" not in str(finding)


def test_silent_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor stops waiting at its timeout."""
    monkeypatch.setattr(aws, "TIMEOUT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        finding = aws.check_endpoint(f"http://127.0.0.1:{silent.getsockname()[1]}").finding
    assert finding.verdict is Verdict.FAILED


@pytest.mark.parametrize("year", [2015, 2100])
def test_clock_of_another_year(year: int) -> None:
    class OtherTime(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(403)
            self.send_header("Date", f"Fri, 02 Jan {year} 00:00:00 GMT")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(OtherTime) as url:
        (finding,) = aws.check_clock(aws.check_endpoint(url).skew)
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
def test_clock_skew(skew: float | None, verdicts: list[Verdict]) -> None:
    """AWS rejects signatures over five minutes; an unknown skew is not reported."""
    assert [each.verdict for each in aws.check_clock(skew)] == verdicts
