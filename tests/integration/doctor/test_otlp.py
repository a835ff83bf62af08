"""OTLP with signed requests as the doctor checks it: accepted, and with rejected credentials."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.otlp import check
from tests.support.doctor import make_context
from tests.support.otlp_front import OtlpFront, aws_error, otlp_front
from tests.support.sigv4 import Credentials

pytestmark = pytest.mark.usefixtures("fake_credentials")


@pytest.fixture
def signed_front(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpFront]:
    """Start a receiver that checks signatures; STS is moto's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto)
    with otlp_front(credentials=Credentials("test", "test")) as started:
        started.allows_empty = True
        yield started


def signing_to(url: str, **more: Any) -> Context:
    """Return the context of a machine that sends signed requests to this URL."""
    signed = {"otlp__auth": "sigv4", "identity__region": "us-east-1"}
    return make_context(otlp__enabled=True, otlp__endpoint=url, **signed, **more)


def findings(context: Context) -> list[tuple[Verdict, str, str]]:
    """Return all findings, each as verdict, text and remedy."""
    return [(each.verdict, each.seen, each.fix) for each in check(context)]


def test_signed(signed_front: OtlpFront) -> None:
    """The credentials have a line of their own, unless CloudWatch's lines are about them."""
    url = signed_front.url
    (credentials, sent) = findings(signing_to(url))
    assert credentials[1].startswith("credentials of the environment (AWS_ACCESS_KEY_ID): arn:")
    assert sent[:2] == (
        Verdict.OK,
        f"{signed_front.endpoint} in us-east-1 accepts a request (without metrics)",
    )
    (only,) = findings(signing_to(url, cloudwatch__enabled=True))
    assert only == sent


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("AccessDenied", "allow the request in the role's policy"),
        ("ExpiredToken", "check the credentials lines"),
    ],
)
def test_rejected_credentials(signed_front: OtlpFront, code: str, remedy: str) -> None:
    signed_front.respond_with(aws_error(403, code))
    context = signing_to(signed_front.url, cloudwatch__enabled=True)
    ((verdict, seen, fix),) = findings(context)
    assert verdict is Verdict.FAILED
    assert f"does not accept requests: {code}: HTTP 403" in seen
    assert fix.startswith(remedy)
