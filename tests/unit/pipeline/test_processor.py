"""The report processor: what it logs once, and what it counts always."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from neuron_exporter.config import Override, load
from neuron_exporter.identity.owners.lookup import OwnerLookup, OwnersResult
from neuron_exporter.metrics.collector import CollectResult
from neuron_exporter.model import Owners, Snapshot, SourceState, Timestamp
from neuron_exporter.pipeline.build import build
from neuron_exporter.pipeline.processor import MAX_LOGGED_KINDS
from tests.support.report_feed import Feed
from tests.support.reports import cores, executions, group, report, runtime


@pytest.fixture
def feed() -> Iterator[Feed]:
    """Return a processor with a period of 5 s."""
    with capture_logs() as events:
        yield Feed(events)


def test_state_changes_are_logged(feed: Feed) -> None:
    for _ in range(3):
        feed.process(report())
    assert feed.new_events() == [("source_state", "ok")]
    feed.processor.on_state(SourceState.EXITED, "gone")
    feed.processor.on_state(SourceState.EXITED, "gone")
    assert feed.new_events() == [("source_state", "exited")]
    assert feed.counter("neuron_exporter_up") == 0


def test_report_without_section_of_runtimes(feed: Feed) -> None:
    """Their processes are not forgotten: the counter of a job goes on under its labels."""

    class Jobs:
        name = "jobs"

        def lookup(self, pids: frozenset[int]) -> OwnersResult:
            labels = dict.fromkeys(pids, (("job_id", "7"),))
            return OwnersResult(Owners(process_labels=labels))

    lookup = OwnerLookup([], process_labels=Jobs())
    feed.processor._owners, feed.processor._observe_processes = lookup.owners, lookup.observe
    work = report(runtime(4711, "train", execution_stats=executions(20)))
    unread = {name: value for name, value in work.items() if name != "neuron_runtime_data"}
    feed.process(work)
    lookup._run_round(frozenset(lookup._pids), lookup._pids)
    for document in (work, unread, work, work):
        feed.process(document)
        assert lookup.owners().process_labels == {4711: (("job_id", "7"),)}
    snapshot, _ = feed.processor.snapshots()
    assert snapshot is not None
    found = [
        (value, series.owner.process_labels)
        for series, value in zip(snapshot.shape, snapshot.values, strict=True)
        if series.spec.name == "execution_status_total" and series.split_value == "completed"
    ]
    assert found == [(80, (("job_id", "7"),))]
    feed.process(report())
    assert lookup.owners().process_labels == {}


def test_report_is_counted_once_its_samples_are_published(feed: Feed) -> None:
    counted = []

    class Recorder:
        name = "recorder"

        def offer(self, snapshot: Snapshot) -> None:
            counted.append(
                [feed.counter(f"neuron_exporter_{name}") for name in ("reports_total", "up")]
            )

    main = feed.processor._main
    feed.processor._main = main._replace(sinks=[*main.sinks, Recorder()])
    feed.process(report())
    assert counted == [[0, 0]]
    assert feed.counter("neuron_exporter_reports_total") == 1


def failing_runtime(error: str) -> Any:
    """Return a runtime with an error in its CPU shares."""
    return runtime(neuron_runtime_vcpu_usage=group(error, vcpu_usage={"user": 0, "system": 0}))


def test_failing_group_is_logged_once(feed: Feed) -> None:
    """It recovers when it is read again, not when it is missing."""
    vcpu = "neuron_runtime_vcpu_usage"
    feed.process(report())
    feed.new_events()
    for _ in range(3):
        feed.process(report(failing_runtime("no such file")))
        feed.process(report())
    assert feed.new_events() == [("group_failing", vcpu)]
    assert feed.counter("neuron_exporter_group_errors_total", group=vcpu) == 3
    feed.process(report(failing_runtime("")))
    assert feed.new_events() == [("group_recovered", vcpu)]


def test_invalid_lines_are_counted_and_logged_once(feed: Feed) -> None:
    for _ in range(3):
        assert feed.process(b"usage: neuron-monitor") is None
        assert feed.process(b"[]") is None
    assert feed.new_events() == [
        ("report_invalid", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("report_invalid", "a JSON list, not an object"),
    ]
    assert feed.counter("neuron_exporter_report_errors_total", reason="not_json") == 3
    assert feed.counter("neuron_exporter_report_errors_total", reason="not_a_report") == 3


def test_invalid_field_is_logged_once(feed: Feed) -> None:
    broken = runtime(neuroncore_counters=cores(_0="much", _1=-5))  # type: ignore[arg-type]
    feed.process(report())
    feed.new_events()
    feed.process(report(broken, broken))
    feed.process(report(broken))
    name = "neuron_runtime_data[].report.neuroncore_counters.neuroncores_in_use{}"
    assert feed.new_events() == [("field_invalid", f"{name}.neuroncore_utilization")]
    assert feed.counter("neuron_exporter_report_errors_total", reason="reading") == 6


@pytest.mark.parametrize("place", ["unknown", "neuron_hardware_info"])
def test_deep_nesting(feed: Feed, place: str) -> None:
    for depth in (*range(10, 900, 100), *range(900, 1010), 5000):
        nested = b"[" * depth + b"]" * depth
        feed.processor.on_restart("test", 0.0)  # the next report is looked at for unknown fields
        feed.process(b'{"neuron_runtime_data":[],"%s":{"a":%s}}' % (place.encode(), nested))
        feed.process(b'{"neuron_runtime_data":[],"neuron_hardware_info":{"error":%s}}' % nested)
    assert feed.process(report()) is not None


def test_identity_error_is_reported(feed: Feed) -> None:
    feed.process(report(instance_info={"instance_id": "", "error": "IMDS unreachable"}))
    assert ("group_failing", "instance_info") in feed.new_events()
    assert feed.counter("neuron_exporter_group_errors_total", group="instance_info") == 1


def test_logged_problems_are_bounded(feed: Feed) -> None:
    for number in range(2 * MAX_LOGGED_KINDS):
        feed.processor._log_once(f"fault:{number}", "field_invalid", path=str(number))
    assert len(feed.new_events()) == MAX_LOGGED_KINDS


def test_period_mismatch_is_logged_once() -> None:
    with capture_logs() as events:
        feed = Feed(events, period="60s")
        for _ in range(6):
            feed.process(report(runtime(execution_stats=executions(1))))
    assert [
        (e["requested"], e["observed"]) for e in events if e["event"] == "report_period_mismatch"
    ] == [(60, 5)]


def test_stderr_lines_are_rate_limited(feed: Feed) -> None:
    for number in range(100):
        feed.processor.on_stderr(f"complaint {number}")
    assert 1 <= len(feed.new_events()) <= 20
    assert feed.counter("neuron_exporter_source_stderr_lines_total") == 100


def test_error_in_one_branch_is_isolated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = [
        Override("test", "cloudwatch.enabled", True),
        Override("test", "cloudwatch.scope", "task"),
        Override("test", "cloudwatch.dimension_sets", [["ServiceName"]]),
    ]
    pipeline = build(load(flags=flags), environment={})
    (branch,) = pipeline.processor._others
    healthy = branch.collector.collect

    def fail(*_: Any) -> CollectResult:
        raise RuntimeError("a bug")

    def errors(sink: str) -> float | None:
        return pipeline.telemetry.registry.get_sample_value(
            "neuron_exporter_sink_errors_total", {"sink": sink, "code": "RuntimeError"}
        )

    line = memoryview(json.dumps(report(runtime(execution_stats=executions(3)))).encode())
    assert pipeline.prometheus is not None
    with capture_logs() as events:
        monkeypatch.setattr(branch.collector, "collect", fail)
        for second in (5.0, 10.0):
            assert (
                pipeline.processor.on_line(line, Timestamp(1_700_000_000 + second, second))
                is not None
            )
        assert errors("cloudwatch") == 2
        assert errors("prometheus") is None
        assert [event["sink"] for event in events if event["event"] == "sink_failed"] == [
            "cloudwatch"
        ]
        assert b'neuron_executions_total{status_type="completed"' in pipeline.prometheus.expose(10)
        monkeypatch.setattr(branch.collector, "collect", healthy)
        pipeline.processor.on_line(line, Timestamp(1_700_000_015, 15.0))
        assert errors("cloudwatch") == 2
