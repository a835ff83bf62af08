"""Every request that was settled is gone from the file, and its connection is closed in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.delivery.sender import MAX_FAILURES, Sender
from neuron_exporter.sinks.delivery.status import DeliveryStatus
from neuron_exporter.sinks.delivery.transport import Outcome, Transport, Verdict
from neuron_exporter.telemetry import Telemetry
from tests.support.cloudwatch_sinks import DELIVERED, INVALID, THROTTLED, RecordingTransport
from tests.support.spool_requests import DAY, START, make_request, name_of
from tests.support.spools import ACCEPTED_AGES, SpoolHarness
from tests.support.spools import close_spools as close_spools


class Transports(dict[str, RecordingTransport]):
    """The transport to each region, opened when it is first needed."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__()
        self._outcome = outcome

    def open(self, region: str) -> Transport:
        """Open a transport."""
        self[region] = RecordingTransport(self._outcome)
        return self[region]


def sender_of(harness: SpoolHarness, transports: Transports) -> Sender:
    """Return a sender of the spool's requests."""
    status = DeliveryStatus("test", Telemetry(), lambda: harness.wall)
    return Sender(transports.open, harness.spool, status, ACCEPTED_AGES, lambda: harness.wall)


def assert_nothing_is_left(harness: SpoolHarness) -> None:
    """Assert that neither this spool nor the next start has a request."""
    assert len(harness.spool) == 0
    assert not harness.spool._in_flight
    disk = harness.spool._disk
    assert disk is not None
    assert not disk._undeleted
    harness.spool.close()
    again = SpoolHarness(harness.path)
    assert again.drain() == []
    assert again.spool.ambiguous == 0


@pytest.mark.parametrize("outcome", [DELIVERED, INVALID], ids=["delivered", "rejected"])
def test_delivered_and_rejected_requests_leave_the_file(tmp_path: Path, outcome: Outcome) -> None:
    harness = SpoolHarness(tmp_path / "spool.db")
    harness.add("waiting")
    transports = Transports(outcome)
    sender = sender_of(harness, transports)
    verdicts: set[Verdict] = set()
    sender.send([make_request("new", START)], verdicts)
    sender.drain_backlog(verdicts, 10)
    sent = transports["r-1"].sent
    assert [items[0]["MetricName"] for items in sent] == ["new", "waiting"]
    assert_nothing_is_left(harness)


def test_given_up_request_leaves_the_file(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db")
    harness.add("bad")
    sender = sender_of(harness, Transports(Outcome(THROTTLED.verdict, "Unheard", "of")))
    for _ in range(MAX_FAILURES):
        assert len(harness.spool) == 1
        sender.drain_backlog({Verdict.DELIVERED}, 1)
    assert_nothing_is_left(harness)


def test_untimely_request_is_not_written(tmp_path: Path) -> None:
    harness = SpoolHarness(tmp_path / "spool.db")
    sender = sender_of(harness, Transports(DELIVERED))
    verdicts: set[Verdict] = set()
    sender.send([make_request("late", START - 15 * DAY)], verdicts)
    assert verdicts == {Verdict.REJECTED}
    assert_nothing_is_left(harness)


def test_connection_is_kept_until_the_end() -> None:
    harness = SpoolHarness(None)
    transports = Transports(DELIVERED)
    sender = sender_of(harness, transports)
    for number in range(3):
        sender.send([make_request(f"{number}", START)], set())
    assert [len(each.sent) for each in transports.values()] == [3]
    assert not transports["r-1"].closed
    sender.close()
    assert transports["r-1"].closed


def test_raising_transport_keeps_the_request(tmp_path: Path) -> None:
    class Raising(RecordingTransport):
        def send(self, request: PutMetricDataRequest) -> Outcome:
            raise ValueError(name_of(request))

    harness = SpoolHarness(tmp_path / "spool.db")
    sender = sender_of(harness, Transports(DELIVERED))
    sender._connect = lambda _: Raising()
    sender.send([make_request("new", START)], set())
    harness.spool.close()
    again = SpoolHarness(harness.path)
    assert again.drain() == ["new"]
    assert again.spool.ambiguous == 0
