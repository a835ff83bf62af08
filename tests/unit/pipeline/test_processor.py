"""What is said of the stream: every change once, and nothing twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.config import Given, load
from neuron_exporter.metrics.collector import Collected
from neuron_exporter.model import Moment, SourceState
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.pipeline.processor import MOST_SAID, Intake
from tests.support.reports import cores, executions, group, report, runtime


class Talk:
    """An intake, and what it has said."""

    def __init__(self, said: list[Any], period: str = "5s") -> None:
        flags = [Given("--period", "source.period", period)]
        self.pipeline: Pipeline = build(load(flags=flags), environment={})
        self.intake: Intake = self.pipeline.intake
        self._said = said
        self._now = 0.0

    def give(self, document: Any) -> float | None:
        """Give it a report, or a line."""
        self._now += 5
        line = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.intake.line(memoryview(line), Moment(1_700_000_000 + self._now, self._now))

    def said(self) -> list[tuple[str, Any]]:
        """The events since the last time, with what they are about."""
        events = [
            (e["event"], e.get("group") or e.get("state") or e.get("path") or e.get("reason"))
            for e in self._said
        ]
        self._said.clear()
        return events

    def counted(self, name: str, **labels: str) -> float | None:
        """One of the exporter's own counters."""
        return self.pipeline.telemetry.registry.get_sample_value(name, labels)


@pytest.fixture
def talk() -> Iterator[Talk]:
    """An intake at a period of 5 s."""
    with capture_logs() as said:
        yield Talk(said)


def test_a_state_is_said_when_it_changes(talk: Talk) -> None:
    """Reports that follow each other are one event; the source's end is another."""
    for _ in range(3):
        talk.give(report())
    assert talk.said() == [("source_state", "ok")]
    talk.intake.state(SourceState.EXITED, "gone")
    talk.intake.state(SourceState.EXITED, "gone")
    assert talk.said() == [("source_state", "exited")]
    assert talk.counted("neuron_exporter_up") == 0


def failing(error: str) -> Any:
    """A runtime whose CPU shares cannot be read."""
    return runtime(neuron_runtime_vcpu_usage=group(error, vcpu_usage={"user": 0, "system": 0}))


def test_a_group_that_fails_is_said_once_until_it_was_read_again(talk: Talk) -> None:
    """It recovers by being read, not by being away: short workers do not fill the log."""
    vcpu = "neuron_runtime_vcpu_usage"
    talk.give(report())
    talk.said()
    for _ in range(3):
        talk.give(report(failing("no such file")))
        talk.give(report())
    assert talk.said() == [("group_failing", vcpu)]
    assert talk.counted("neuron_exporter_group_errors_total", group=vcpu) == 3
    talk.give(report(failing("")))
    assert talk.said() == [("group_recovered", vcpu)]


def test_a_line_that_cannot_be_used_is_counted_always_and_said_once(talk: Talk) -> None:
    """Each kind of unusable line is one event, however often it comes."""
    for _ in range(3):
        assert talk.give(b"usage: neuron-monitor") is None
        assert talk.give(b"[]") is None
    assert talk.said() == [("line_unusable", "not JSON: Expecting value: line 1 column 1 (char 0)"),
                           ("line_unusable", "a JSON list, not an object")]  # fmt: skip
    assert talk.counted("neuron_exporter_report_errors_total", reason="not_json") == 3
    assert talk.counted("neuron_exporter_report_errors_total", reason="not_a_report") == 3


def test_a_reading_that_cannot_be_used_is_named_once(talk: Talk) -> None:
    """One defect is one event, in however many cores, runtimes and reports it shows."""
    broken = runtime(neuroncore_counters=cores(_0="much", _1=-5))  # type: ignore[arg-type]
    talk.give(report())
    talk.said()
    talk.give(report(broken, broken))
    talk.give(report(broken))
    name = "neuron_runtime_data[].report.neuroncore_counters.neuroncores_in_use{}"
    assert talk.said() == [("reading_unusable", f"{name}.neuroncore_utilization")]
    assert talk.counted("neuron_exporter_report_errors_total", reason="reading") == 6


@pytest.mark.parametrize("place", ["unknown", "neuron_hardware_info"])
def test_no_depth_is_too_deep(talk: Talk, place: str) -> None:
    """However deep a line is nested, it is a report or it is none; whoever looks for unknown
    fields gives up where the decoder did not."""
    for depth in (*range(10, 900, 100), *range(900, 1010), 5000):
        nested = b"[" * depth + b"]" * depth
        talk.intake.restarting("test", 0.0)  # the next report is looked at for unknown fields
        talk.give(b'{"neuron_runtime_data":[],"%s":{"a":%s}}' % (place.encode(), nested))
        talk.give(b'{"neuron_runtime_data":[],"neuron_hardware_info":{"error":%s}}' % nested)
    assert talk.give(report()) is not None


def test_an_identity_that_cannot_be_read_is_said(talk: Talk) -> None:
    """Without the metadata service machines cannot be told apart: the log and a counter say so."""
    talk.give(report(instance_info={"instance_id": "", "error": "IMDS unreachable"}))
    assert ("group_failing", "instance_info") in talk.said()
    assert talk.counted("neuron_exporter_group_errors_total", group="instance_info") == 1


def test_what_is_said_once_has_a_bound(talk: Talk) -> None:
    """A stream that breaks in ever new ways fills no log and no memory."""
    for number in range(2 * MOST_SAID):
        talk.intake._say_once(f"fault:{number}", "reading_unusable", path=str(number))
    assert len(talk.said()) == MOST_SAID


def test_a_period_that_is_not_kept_is_said_once() -> None:
    """neuron-monitor replaces a period that it does not understand without a word; we do not."""
    with capture_logs() as said:
        talk = Talk(said, period="60s")
        for _ in range(6):
            talk.give(report(runtime(execution_stats=executions(1))))
    assert [(e["asked"], e["got"]) for e in said if e["event"] == "period_not_kept"] == [(60, 5)]


def test_complaints_of_the_child_are_rationed(talk: Talk) -> None:
    """All lines on the child's standard error are counted, a few a minute are logged."""
    for number in range(100):
        talk.intake.stderr(f"complaint {number}")
    assert 1 <= len(talk.said()) <= 20
    assert talk.counted("neuron_exporter_source_stderr_lines_total") == 100


def test_what_is_made_for_a_task_alone_costs_the_machine_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where CloudWatch has a way of its own, an error on it is CloudWatch's: counted, said once,
    and over with the next report that it can take."""
    flags = [
        Given("test", "cloudwatch.enabled", True),
        Given("test", "cloudwatch.scope", "task"),
        Given("test", "cloudwatch.dimension_sets", [["ServiceName"]]),
    ]
    pipeline = build(load(flags=flags), environment={})
    (lane,) = pipeline.intake._others
    healthy = lane.collector.collect

    def fail(*_: Any) -> Collected:
        raise RuntimeError("a bug")

    def errors(sink: str) -> float | None:
        return pipeline.telemetry.registry.get_sample_value(
            "neuron_exporter_sink_errors_total", {"sink": sink, "code": "RuntimeError"}
        )

    line = memoryview(json.dumps(report(runtime(execution_stats=executions(3)))).encode())
    assert pipeline.prometheus is not None
    with capture_logs() as said:
        monkeypatch.setattr(lane.collector, "collect", fail)
        for second in (5.0, 10.0):
            assert pipeline.intake.line(line, Moment(1_700_000_000 + second, second)) is not None
        assert errors("cloudwatch") == 2
        assert errors("prometheus") is None
        assert [event["sink"] for event in said if event["event"] == "sink_failed"] == [
            "cloudwatch"
        ]
        assert b'neuron_executions_total{status_type="completed"' in pipeline.prometheus.expose(10)
        monkeypatch.setattr(lane.collector, "collect", healthy)
        pipeline.intake.line(line, Moment(1_700_000_015, 15.0))
        assert errors("cloudwatch") == 2
