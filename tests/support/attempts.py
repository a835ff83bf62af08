"""Attempts to send a datum to CloudWatch, and parts of HTTP responses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from neuron_exporter.sinks.cloudwatch import put_metric_data as api
from neuron_exporter.sinks.cloudwatch.put_metric_data import PutMetricDataTransport
from neuron_exporter.sinks.delivery.transport import Outcome
from tests.support.cloudwatch_sinks import request_of

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

DATUM: dict[str, Any] = {
    "MetricName": "NeuronCoreUtilization",
    "Dimensions": [{"Name": "InstanceId", "Value": "i-1"}],
    "Timestamp": datetime(2026, 11, 20, 10, 0, tzinfo=UTC),
    "Value": 7.0,
}
PATIENT = 60.0
"""Deadline in seconds of attempts that a busy machine must not abort."""


def attempt(
    transport: PutMetricDataTransport, *datums: dict[str, Any], deadline: float = PATIENT
) -> Outcome:
    """Return the outcome of an attempt with this deadline."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "ATTEMPT_SECONDS", deadline)
        return transport.send(request_of(*(datums or [DATUM])))


def overdue(
    transport: PutMetricDataTransport, reached: Callable[[], int], deadline: float
) -> tuple[Outcome, float]:
    """Return the outcome of an attempt that exceeds its deadline after `reached` has increased, and
    that deadline: twice as long as the one before, on a machine where an attempt came less far."""
    before = reached()
    outcome = attempt(transport, deadline=deadline)
    return (outcome, deadline) if reached() > before else overdue(transport, reached, 2 * deadline)
