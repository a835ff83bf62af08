"""What the doctor reads from a running exporter's metrics and snapshot."""

from __future__ import annotations

from email.message import Message

import pytest

from neuron_exporter.config import Override, load
from neuron_exporter.daemon.snapshot_api import SnapshotEndpoint
from neuron_exporter.doctor.scraped import ScrapedSnapshot, parse_snapshot
from neuron_exporter.model import SourceState
from neuron_exporter.pipeline.build import build
from neuron_exporter.web import Request


def test_reasons_are_read_from_a_real_snapshot() -> None:
    pipeline = build(load(None, {}, [Override("x", "cloudwatch.enabled", True)]), environment={})
    pipeline.processor.on_state(SourceState.EXITED, 'it wrote "<no> & </td>"')
    body = SnapshotEndpoint(pipeline, dict, ()).handle(Request("", Message())).body
    snapshot = parse_snapshot(body)
    assert snapshot.source.reason == 'it wrote "<no> & </td>"'
    assert snapshot.sinks.cloudwatch.state == "waiting for its first window"


@pytest.mark.parametrize("document", [b"", b"\xff<html>", b"[]", b'{"source": 3}', b"{}"])
def test_unknown_document_is_an_empty_snapshot(document: bytes) -> None:
    assert parse_snapshot(document) == ScrapedSnapshot()
