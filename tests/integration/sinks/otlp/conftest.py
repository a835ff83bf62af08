"""Fixtures of attempts to send over OTLP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neuron_exporter.sinks.otlp.settings import TransportSettings
from neuron_exporter.sinks.otlp.transport import OtlpTransport
from tests.support.otlp_front import OtlpFront, otlp_front


@pytest.fixture
def front() -> Iterator[OtlpFront]:
    """A server in place of a collector, which needs no signature."""
    with otlp_front() as started:
        yield started


@pytest.fixture
def transport(front: OtlpFront) -> Iterator[OtlpTransport]:
    """A transport to the server."""
    opened = OtlpTransport("", TransportSettings(endpoint=front.url))
    yield opened
    opened.close()
