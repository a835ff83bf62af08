"""Metrics of the exporter itself that the lookup of owners sets."""

from __future__ import annotations

import threading
from pathlib import Path

from grpclib.const import Status

from neuron_exporter.config import load
from neuron_exporter.pipeline.build import Pipeline, build
from tests.support.kubelet import CORE, PodResource, kubelet_server
from tests.support.waiting import wait_for

LOOKUP = "neuron_exporter_owner_lookup_up"


def value(parts: Pipeline, name: str, **labels: str) -> float | None:
    """Return the value of one of the exporter's own metrics; None if it is absent."""
    return parts.telemetry.registry.get_sample_value(name, labels)


def test_each_lookup_of_owners_shows_whether_it_succeeded(tmp_path: Path) -> None:
    with kubelet_server(tmp_path, PodResource("train", CORE, [0])) as kubelet:
        parts = build(load(), environment={"NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket)})
        assert parts.owner_lookup is not None
        assert value(parts, LOOKUP, provider="kubelet") is None
        parts.owner_lookup.start()
        try:
            for error_code, expected in ((None, 1), (Status.UNAVAILABLE, 0), (None, 1)):
                kubelet.error_code = error_code
                wait_for(lambda: value(parts, LOOKUP, provider="kubelet") == expected)  # noqa: B023
        finally:
            parts.owner_lookup.stop()
            wait_for(lambda: all(thread.name != "owners" for thread in threading.enumerate()))
