"""Counters of a running exporter at the edges of the stream: new names, missing groups, first
errors, silence, equal labels, churn and restarts."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.metrics.collector import MAX_LABEL_BYTES
from neuron_exporter.metrics.counters import MAX_RETIRED_SERIES, RETENTION_AFTER_EXIT
from tests.support import exporter as exporter_process
from tests.support.endpoint import cloudwatch_endpoint
from tests.support.fleet import CREDENTIALS
from tests.support.patched import SteppingClock, patched
from tests.support.piped import PipedExporter, piped_exporter
from tests.support.reports import cores, ecc, executions, group, memory, report, runtime
from tests.support.waiting import wait_for

ECC = "hardware_ecc_events_total"
MACHINE = "neuron_executions_total"
ERRORS = "execution_errors_total"
UNKNOWN = "neuron_exporter_unknown_fields_total"


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[PipedExporter]:
    """Run an exporter without CloudWatch."""
    with piped_exporter(tmp_path) as piped:
        yield piped


def cloudwatch(url: str) -> dict[str, Any]:
    """Return a configuration that publishes everything to this endpoint, once a second."""
    return {
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": url,
            "region": "us-east-1",
            "flush_interval": "1s",
            "preset": "full",
            "budget": {"max_metrics": None},
        }
    }


def hardware(*devices: dict[str, float], **more: Any) -> dict[str, Any]:
    """Return a report with the ECC readings of devices."""
    return report(system_data={"neuron_hw_counters": {**ecc(*devices), **more}})


def test_unknown_names_are_exported_but_no_errors(tmp_path: Path) -> None:
    """A status that a new SDK adds is exported, counted and logged once, and no execution error."""
    stats = executions(5, timed_out=2, queued=40, errors={"collective\x1b": 3})
    with cloudwatch_endpoint() as endpoint:  # noqa: SIM117 (the stream ends first)
        with piped_exporter(tmp_path, cloudwatch(endpoint.url), environment=CREDENTIALS) as stream:
            for _ in range(2):
                stream.send(report(runtime(1, "a", execution_stats=stats)))
            assert stream.exporter.value(MACHINE, status_type="queued") == 80
            assert stream.exporter.value("execution_status_total", status_type="queued") == 80
            assert (
                stream.exporter.value(ERRORS, error_type="collective\N{REPLACEMENT CHARACTER}") == 6
            )
            assert stream.exporter.value(UNKNOWN) == 2
            paths = [event["path"] for event in stream.exporter.events("unknown_field")]
            stats_path = "neuron_runtime_data[].report.execution_stats"
            assert sorted(paths) == [
                f"{stats_path}.error_summary.collective\N{REPLACEMENT CHARACTER}",
                f"{stats_path}.execution_summary.queued",
            ]
            document = json.loads(stream.exporter.get("/api/v1/snapshot")[1])
            assert document["reading"]["executions"]["failed"]["timed_out"] == 4
            assert document["reading"]["runtimes"][0]["failed"]["timed_out"] == 4
            stream.end()
    assert endpoint.total("ExecutionErrors") == endpoint.total("ExecutionsTimedOut") == 4
    assert endpoint.total("ExecutionsCompleted") == 10


def test_new_name_of_one_report_is_counted(stream: PipedExporter) -> None:
    """A name is found in whichever report has it, not only in the one that is scanned."""
    normal, new = (executions(1, **more) for more in ({}, {"queued": 1}))
    for stats in (normal, new, normal):
        stream.send(report(runtime(1, "a", execution_stats=stats)))
    assert stream.exporter.value(UNKNOWN) == 1


def test_new_fields_are_counted(stream: PipedExporter) -> None:
    """A new category of memory or kind of ECC event is counted and logged, each once."""
    used = memory({"0": {"tensors": 1, "collectives": 2}})
    counted = ecc(*[{"mem_ecc_repairable_uncorrected": 1}] * 2)
    document = report(
        runtime(1, "a", memory_used=used), system_data={"neuron_hw_counters": counted}
    )
    for _ in range(2):
        stream.send(document)
    assert stream.exporter.value(UNKNOWN) == 2
    paths = [event["path"].rpartition(".")[2] for event in stream.exporter.events("unknown_field")]
    assert sorted(paths) == ["collectives", "mem_ecc_repairable_uncorrected"]


@pytest.mark.parametrize(
    "without",
    [report(), hardware(neuron_devices=None), hardware(error="failed"), hardware()],
    ids=["missing", "null", "failing", "empty"],
)
def test_ecc_counter_outlives_its_group(stream: PipedExporter, without: Any) -> None:
    """A counter stays on the page while its reading is gone, and continues with the next one."""
    for document in (
        hardware({"mem_ecc_corrected": 2}),
        hardware({"mem_ecc_corrected": 5}),
        without,
    ):
        stream.send(document)
    labels = {"neuron_device_index": "0", "event_type": "mem_ecc_corrected"}
    assert stream.exporter.value(ECC, **labels) == 5
    assert stream.exporter.value("neurondevice_ecc_reading", **labels) is None
    stream.send(hardware({"mem_ecc_corrected": 6}))
    assert stream.exporter.value(ECC, **labels) == 6


def test_ecc_events_between_two_exporters(tmp_path: Path) -> None:
    """What rises while the exporter is replaced is counted once; after a reboot, or with a file
    that is damaged, the first reading is a baseline."""
    state = tmp_path / "spool.db.ecc"
    readings = [
        ("first start", [7, 8], 1),
        ("rollout", [11], 3),
        ("driver was loaded again", [2], 2),
        ("reboot", [9, 10], 1),
        ("garbage", [20, 21], 1),
        ("not readable", [30, 31], 1),
    ]
    rises = []
    for name, events, _ in readings:
        if name == "reboot":
            other = {**json.loads(state.read_text()), "boot_id": "another"}
            state.write_text(json.dumps(other))
        elif name == "garbage":
            state.write_bytes(b"\xff{]" * 100)
        elif name == "not readable":
            state.unlink()
            state.mkdir()
        with cloudwatch_endpoint() as endpoint:
            with piped_exporter(
                tmp_path, cloudwatch(endpoint.url), environment=CREDENTIALS
            ) as stream:
                for number in events:
                    stream.send(hardware({"mem_ecc_uncorrected": number}))
                if name != "not readable":
                    wait_for(lambda n=number: saved_reading(state) == n)
                value = stream.exporter.value(ECC, event_type="mem_ecc_uncorrected")
                stream.end()
            rises.append((name, endpoint.total("EccUncorrected")))
        if name == "driver was loaded again":
            assert value == 7 + 1 + 3 + 2  # the series goes on
    assert rises == [(name, rise) for name, _, rise in readings]
    assert stream.exporter.wait_for_event("ecc_state_unreadable")["file"] == str(state)


def saved_reading(state: Path) -> Any:
    """Return the last reading in the file; None if there is none."""
    try:
        return json.loads(state.read_text())["devices"]["0"]["mem_ecc_uncorrected"][0]
    except (OSError, ValueError):
        return None


def test_first_error_of_a_runtime_is_a_rise_from_zero(stream: PipedExporter) -> None:
    null, zeros = {**executions(), "error_summary": None}, executions()
    first = {**executions(), "error_summary": {"hardware": 1, "collective": 0}}
    values = []
    for stats in (null, zeros, first):
        stream.send(report(runtime(1, "a", execution_stats=stats)))
        values.append(stream.exporter.value(ERRORS, error_type="hardware"))
    assert values == [0, 0, 1]
    assert stream.exporter.value(ERRORS, error_type="collective") == 0
    statuses = stream.exporter.families()["execution_status"].samples
    assert {s.labels["status_type"] for s in statuses} >= {"completed", "failed_to_queue"}


def test_counter_of_exited_runtimes_outlives_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runtimes 1 and 2 share a tag; 1 exits, the stream is silent for longer than counters stay,
    and then 2 is gone as well: the counter stays, and ends when it is due."""
    monkeypatch.setattr(exporter_process, "EXPORTER", patched("stepping-monotonic-clock"))
    clock = SteppingClock(tmp_path)
    with piped_exporter(tmp_path, environment=clock.environment) as stream:
        one, two = (runtime(pid, "a", execution_stats=executions(pid)) for pid in (1, 2))
        stream.send(report(one, two))
        stream.send(report(two))
        clock.set(RETENTION_AFTER_EXIT + 60)
        stream.send(report())
        assert stream.exporter.value("execution_status_total", status_type="completed") == 5
        clock.set(2 * RETENTION_AFTER_EXIT + 120)
        stream.send(report())
        assert stream.exporter.value("execution_status_total", status_type="completed") is None
        assert stream.exporter.value(MACHINE, status_type="completed") == 5


def test_every_series_is_exposed_once(stream: PipedExporter) -> None:
    """Labels that become equal when they are made printable are one series."""
    physical = {
        name: {"neuroncore_utilization": 20} for name in ("nc_v3.0", "nc_v2.0", "x\1", "x\2")
    }
    used = group(neuroncores_in_use={"0": {"neuroncore_utilization": 50, "v3d": physical}})
    stats = executions(1, {"p50\1": 0.1, "p50\2": 0.2}, **{"new\1": 2, "new\2": 3})
    runtimes = [
        {**runtime(1, tag, neuroncore_counters=used, execution_stats=stats), "pid": pid}
        for tag, pid in (("a\1", None), ("a\2", None), ("", 5), (None, 5))
    ]
    stream.send(report(*runtimes))
    lines = Counter(
        line.rpartition(" ")[0]
        for line in stream.exporter.get("/metrics")[1].splitlines()
        if not line.startswith("#")
    )
    assert [line for line, count in lines.items() if count > 1] == []
    assert stream.exporter.value(MACHINE, status_type="new\N{REPLACEMENT CHARACTER}") == 4 * 5
    percentiles = {"percentile": "p50\N{REPLACEMENT CHARACTER}"}
    shown = stream.exporter.families()["execution_latency_seconds"].samples
    assert {s.value for s in shown if s.labels["percentile"] == percentiles["percentile"]} == {0.2}


def test_churn_of_runtimes_is_bounded(tmp_path: Path) -> None:
    """Workers that are renewed with every report do not fill the page: the oldest series of exited
    workers are evicted and counted, and the machine's totals keep their executions."""
    workers, renewals = 32, 20
    labels = {"prometheus": {"runtime_labels": ["runtime_tag", "pid"]}}
    with piped_exporter(tmp_path, labels) as stream:
        for renewal in range(renewals):
            pids = range(renewal * workers, (renewal + 1) * workers)
            stream.send(
                report(
                    *(
                        runtime(
                            pid, "w", neuroncore_counters=cores(_0=1), execution_stats=executions(1)
                        )
                        for pid in pids
                    )
                )
            )
        families = stream.exporter.families()
        counters = [
            sample
            for name in ("execution_status", "execution_errors")
            for sample in families[name].samples
        ]
        evicted = stream.exporter.value("neuron_exporter_series_evicted_total") or 0
        of_each = len(counters) / len({sample.labels["pid"] for sample in counters})
        assert len(counters) <= MAX_RETIRED_SERIES + workers * of_each
        assert len(counters) + evicted == renewals * workers * of_each
        assert {str(pid) for pid in pids} <= {sample.labels["pid"] for sample in counters}
        assert "0" not in {sample.labels["pid"] for sample in counters}
        assert stream.exporter.value(MACHINE, status_type="completed") == renewals * workers
        assert len(stream.exporter.events("too_many_retired_series")) == 1


def test_long_labels_of_runtimes_are_bounded(tmp_path: Path) -> None:
    """A thousand runtimes with the longest tags in every report do not fill the memory: series are
    left out and counted, those of runtimes first."""
    runtimes, renewals = 1000, 3
    long = "\N{GRINNING FACE}" * 240
    latency = {f"p{number}": 0.1 for number in range(10)}
    with piped_exporter(tmp_path) as stream:
        pipe = stream.exporter.process.stdin
        assert pipe is not None
        for renewal in range(renewals):
            each = [
                runtime(
                    number,
                    f"{renewal}-{number}-{long}",
                    neuroncore_counters=cores(_0=1),
                    execution_stats=executions(1, latency),
                )
                for number in range(runtimes)
            ]
            pipe.write(json.dumps(report(*each)).encode() + b"\n")
            pipe.flush()
        last = f"\nneuron_exporter_reports_total {renewals}.0\n"
        wait_for(lambda: last in stream.exporter.get("/metrics")[1])
        text = stream.exporter.get("/metrics")[1]
        assert MAX_LABEL_BYTES / 2 < len(text.encode()) < MAX_LABEL_BYTES * 1.2
        assert "\nneuron_exporter_series_dropped_total 0.0" not in text
        assert len(stream.exporter.events("too_many_series")) == 1
        completed = re.search(rf'\n{MACHINE}{{status_type="completed".*}} (.*)\n', text)
        busy = re.search(r'\nneuroncore_utilization_ratio{neuroncore="0".*} (.*)\n', text)
        assert completed is not None
        assert busy is not None
        assert (float(completed[1]), float(busy[1])) == (renewals * runtimes, 1)
