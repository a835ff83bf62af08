"""A transport to CloudWatch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery.transport import Verdict
from tests.support.attempts import DATUM
from tests.support.cloudwatch_sinks import request_of
from tests.support.endpoint import Endpoint


@pytest.fixture
def transport(endpoint: Endpoint, fake_credentials: None) -> Iterator[PutMetricDataTransport]:
    """A transport to the endpoint that has already created its client, with fake credentials."""
    opened = PutMetricDataTransport("us-east-1", endpoint.url)
    assert opened.send(request_of(DATUM)).verdict is Verdict.DELIVERED
    yield opened
    opened.close()
