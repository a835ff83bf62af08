"""The check of the running exporter, against a server that does not answer."""

from __future__ import annotations

import socket

from neuron_exporter.doctor.finding import Verdict
from neuron_exporter.doctor.running_exporter import check
from tests.support.doctor import make_context, seen_with


def test_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        context = make_context(prometheus__listen=f"127.0.0.1:{silent.getsockname()[1]}")
        (seen,) = seen_with(check(context), Verdict.FAILED)
    assert "does not answer" in seen
