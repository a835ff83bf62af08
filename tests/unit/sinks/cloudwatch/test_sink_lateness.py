"""What comes late: a report after its window, a name after the start, a stop after its time."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.settings import Settings
from neuron_exporter.sinks.cloudwatch.sink import CloudWatchSink
from neuron_exporter.sinks.cloudwatch.transport import Outcome
from neuron_exporter.sinks.cloudwatch.window import MOST_OPEN
from neuron_exporter.sinks.delivery.jitter import Turn
from neuron_exporter.sinks.delivery.sender import MOST_FAILURES
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.telemetry import Telemetry
from tests.unit.sinks.cloudwatch.test_sink import DELIVERED, HERE, STANDARD, THROTTLED, Line
from tests.unit.sinks.delivery.test_sender import MINUTE, START, Cranked, beats


def test_a_report_that_comes_after_its_window_makes_no_second_heartbeat() -> None:
    """The window is sent once more with what it brings, and still counts one machine."""
    line = Line()
    cranked = Cranked(line)
    for _ in range(2):
        cranked.minute(1)
    cranked.offer(5, age=2 * MINUTE - 1)
    for _ in range(2):
        cranked.minute(1)
    stamps = [stamp for stamp, _ in beats(line)]
    assert len(stamps) == len(set(stamps)) == 4
    assert line.sum_of("ExecutionsCompleted") == 9


def test_minutes_that_a_clock_lives_twice_have_one_heartbeat_each() -> None:
    """A clock that is set back does not make one machine look like two."""
    line = Line()
    cranked = Cranked(line)
    for _ in range(5):
        cranked.minute(1)
    cranked.wall -= 3 * MINUTE
    for _ in range(6):
        cranked.minute(1)
    stamps = [stamp for stamp, _ in beats(line)]
    assert len(stamps) == len(set(stamps))
    assert line.sum_of("ExecutionsCompleted") == 11


def test_windows_beyond_the_bound_are_counted() -> None:
    """A sink that cannot keep up loses the oldest windows, and says so."""
    cranked = Cranked(Line())
    for _ in range(MOST_OPEN + 5):
        cranked.offer(1)
        cranked.wall += MINUTE
    with capture_logs() as said:
        cranked.wait(0)
    assert cranked.dropped("too_many_windows") == 5
    assert ("not_delivering", "TooManyWindows") in [(e["event"], e.get("code")) for e in said]


class Slow(Line):
    """A transport that delivers, and takes its time."""

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Deliver after a second."""
        until = time.monotonic() + 1
        while time.monotonic() < until:
            pass
        return super().send(namespace, datums)


def test_a_stop_keeps_on_disk_what_it_has_no_time_to_send(tmp_path: Path) -> None:
    """Windows that are held when a stop begins go while there is time; the others are kept for the
    next start, and none is lost."""
    cranked = Cranked(Slow())
    spool: list[Spool] = []

    def on_disk(_: Machine, dropped: object) -> Spool:
        clocks = {"clock": lambda: cranked.wall, "monotonic": lambda: cranked.uptime}
        spool.append(
            Spool(tmp_path / "s.db", 2**20, 86400.0, cranked.sink._standing.drop, **clocks)
        )
        return spool[0]

    cranked.sink._open_spool = on_disk
    for number in range(8):
        cranked.offer(1, age=-number * MINUTE)
    cranked.wall += 8 * MINUTE - 1
    with capture_logs() as said:
        cranked.sink.start()
        assert cranked.sink.close(6)
    sent = cranked.line.sum_of("ExecutionsCompleted")  # type: ignore[attr-defined]
    assert 1 <= sent < 8
    (kept,) = [entry for entry in said if entry["event"] == "kept_for_the_next_start"]
    assert sent + kept["requests"] == 8
    assert "data_lost" not in {entry["event"] for entry in said}


def test_the_spool_waits_for_the_name_in_its_path() -> None:
    """A file that is named by the task is not opened before the task is known, nor waited for for
    ever."""
    for known_after, wanted in ((30.0, "7f3a"), (1000.0, "")):
        opened: list[str] = []
        machine, now = [HERE], [START]

        def note(known: Machine, dropped: object, opened: list[str] = opened) -> Spool:
            opened.append(known.task_id)
            return Spool(None, 2**20, 86400.0, lambda *_: None)

        sink = CloudWatchSink(
            STANDARD,
            Settings(
                namespace="N",
                region="us-east-1",
                interval=10.0,
                dimension_sets=[["InstanceId"]],
                spool_names=["task_id"],
                spread=False,
            ),
            lambda machine=machine: machine[0],  # type: ignore[misc]
            lambda _: Line(),
            Telemetry(),
            note,
            clock=lambda now=now: now[0],  # type: ignore[misc]
            monotonic=lambda now=now: now[0],  # type: ignore[misc]
        )
        for _ in range(10):
            now[0] += 10
            if now[0] - START >= known_after:
                machine[0] = replace(HERE, task_id="7f3a")
            sink.step()
        assert opened == [wanted]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Machine(task_id="a"), Machine(task_id="b")),
        (Machine(instance_id="i-1", task_id="a"), Machine(instance_id="i-1", task_id="b")),
        (Machine(node_name="n1"), Machine(node_name="n2")),
        (Machine(pod_uid="x"), Machine(pod_uid="y")),
    ],
)
def test_whatever_tells_two_apart_spreads_them(one: Machine, other: Machine) -> None:
    """Machines without a known id, and tasks of one machine, do not send all at once."""
    turns = {Turn(lambda its=each: its, 60.0).after_window() for each in (one, other)}  # type: ignore[misc]
    assert len(turns) == 2
    assert all(0 <= turn < 60 for turn in turns)


class Busy(Line):
    """A transport that takes new requests and has no time for old ones."""

    def __init__(self) -> None:
        super().__init__(THROTTLED)
        self.newest = 0.0

    def send(self, namespace: str, datums: list[Datum]) -> Outcome:
        """Deliver what is newer than all before."""
        stamp = datums[0]["Timestamp"].timestamp()
        is_new = stamp > self.newest
        self.newest = max(self.newest, stamp)
        if self.outcome is DELIVERED and not is_new:
            return THROTTLED._replace(of_request=False)
        return super().send(namespace, datums)


def test_throttling_gives_nothing_up() -> None:
    """A service that has no time for what waits loses none of it, however long that takes."""
    line = Busy()
    cranked = Cranked(line)
    for _ in range(3):
        cranked.minute(1)
    line.outcome = DELIVERED
    for _ in range(3 * MOST_FAILURES):
        cranked.minute(0)
    assert cranked.value("sink_queue_requests") == 3
    assert cranked.dropped("attempts") == 0
