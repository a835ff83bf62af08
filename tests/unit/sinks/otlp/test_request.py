"""Spooled requests are read back as they were, and damage is noticed."""

from __future__ import annotations

import pytest

from neuron_exporter.sinks.delivery.spool.rows import compress
from neuron_exporter.sinks.otlp.request import CODEC
from tests.support.otlp_requests import request_of


def test_a_request_is_read_back() -> None:
    request = request_of()
    row = CODEC.pack(request)
    assert len(row.payload) < len(request.body)
    assert CODEC.unpack(row) == request


@pytest.mark.parametrize("payload", [b"", b"x", compress(b""), compress(b"<html>")])
def test_damage_is_noticed(payload: bytes) -> None:
    row = CODEC.pack(request_of())._replace(payload=payload)
    with pytest.raises(ValueError, match="a spooled request is damaged"):
        CODEC.unpack(row)


def test_a_truncated_request_is_noticed() -> None:
    row = CODEC.pack(request_of())
    with pytest.raises(ValueError, match="damaged"):
        CODEC.unpack(row._replace(payload=row.payload[:-1]))
