"""Fixtures of attempts to send to CloudWatch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neuron_exporter.sinks.cloudwatch import put_metric_data as api
from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery import aws_session
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.attempts import DATUM, PATIENT
from tests.support.cloudwatch_sinks import request_of
from tests.support.endpoint import Endpoint


@pytest.fixture
def quick_attempts(monkeypatch: pytest.MonkeyPatch, fake_credentials: None) -> None:
    """Use fake credentials and short time limits of reads."""
    monkeypatch.setattr(aws_session, "CONNECT_TIMEOUT", 2.0)
    monkeypatch.setattr(aws_session, "READ_TIMEOUT", 2.0)
    monkeypatch.setattr(api, "ATTEMPT_SECONDS", PATIENT)


@pytest.fixture
def transport(endpoint: Endpoint, quick_attempts: None) -> Iterator[PutMetricDataTransport]:
    """A transport to the endpoint that has already created its client."""
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    assert opened.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    yield opened
    opened.close()
