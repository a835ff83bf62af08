"""The endpoint and the clock of CloudWatch, as the doctor checks them."""

from __future__ import annotations

import os
import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

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
    "variables",
    [
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "{}", "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x"},
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{}",
        },
    ],
)
def test_missing_token(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named, for a pod with IRSA and one with Pod Identity."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    path = tmp_path / "token"
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(path))
    (finding,) = aws.check_credentials("us-east-1")
    reason = f"{path}: No such file or directory (user {os.geteuid()})"
    assert finding.seen == f"loading credentials failed: {reason}"
    assert finding.verdict is Verdict.FAILED
    assert "correct the variable" in finding.fix


@pytest.fixture
def token(fake_credentials: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the credentials by a token that STS must exchange, behind a proxy that is closed."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "token").write_text("a.b.c")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:geheim@127.0.0.1:1")


@pytest.mark.usefixtures("token")
def test_token_that_cannot_be_exchanged() -> None:
    """Without STS a token is no credential, so that nothing can be sent."""
    (finding,) = aws.check_credentials("us-east-1")
    assert finding.verdict is Verdict.FAILED
    assert finding.seen == (
        "loading credentials failed: STS cannot be reached through the proxy 127.0.0.1:1 "
        "(HTTPS_PROXY) (ProxyConnectionError)"
    )


@pytest.mark.usefixtures("token")
def test_sts_that_has_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint decides, which is of another domain in each partition."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "https://127.0.0.1:1")
    (finding,) = aws.check_credentials("eusc-de-east-1")
    assert finding.seen == (
        "loading credentials failed: STS cannot be reached (EndpointConnectionError)"
    )


def test_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer of the proxy is shown."""

    class Refusing(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Refusing) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        finding = aws.check_endpoint("https://monitoring.us-east-1.amazonaws.com").finding
    address = url.removeprefix("http://")
    assert finding.seen == (
        "https://monitoring.us-east-1.amazonaws.com cannot be reached through the proxy "
        f"{address} (HTTPS_PROXY): Tunnel connection failed: 403 Forbidden"
    )
    assert "NO_PROXY" in finding.fix


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
