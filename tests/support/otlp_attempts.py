"""Attempts to send a request of OTLP."""

from __future__ import annotations

import pytest

from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp import transport as api
from neuron_exporter.sinks.otlp.request import ExportRequest
from neuron_exporter.sinks.otlp.transport import OtlpTransport
from tests.support.attempts import PATIENT
from tests.support.otlp_requests import request_of


def attempt(
    transport: OtlpTransport, request: ExportRequest | None = None, deadline: float = PATIENT
) -> Outcome:
    """Return the outcome of an attempt with this deadline, by default with one point of now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "ATTEMPT_SECONDS", deadline)
        return transport.send(request or request_of())


def assert_delivered(transport: OtlpTransport) -> None:
    """Send a point of now."""
    outcome = attempt(transport)
    assert outcome.verdict is Verdict.DELIVERED, outcome
