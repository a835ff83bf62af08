"""Rules on the exporter itself, with values that a running exporter rarely has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import Target, alerts_fired, alerts_firing, annotations, check
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

DAY = 86400
UP: Frame = {"neuron_exporter_up": 1.0}


def test_spool_size(tmp_path: Path) -> None:
    """The alert fires above 128 MiB, regardless of the requests' age."""
    full: Frame = {'neuron_exporter_spool_bytes{sink="otlp"}': 2.0**27 + 1, **UP}
    check_with_alarms(
        tmp_path,
        {"full:9415": [full] * 120},
        alerts_fired(870),
        alerts_firing(960, "NeuronSpoolFilling"),
    )
    half: Frame = {'neuron_exporter_spool_bytes{sink="otlp"}': 2.0**27, **UP}
    check_with_alarms(tmp_path, {"half:9415": [half] * 120}, alerts_fired(1790))


def test_certificate_ends_within_two_weeks(tmp_path: Path) -> None:
    expiry = "neuron_exporter_web_certificate_expiry_timestamp_seconds"
    frames = {
        "old:9415": [{expiry: 13.5 * DAY, **UP}] * 120,
        "new:9415": [{expiry: 15.0 * DAY, **UP}] * 120,
        "over:9415": [{expiry: -1.0, **UP}] * 120,
    }
    check_with_alarms(
        tmp_path,
        frames,
        alerts_fired(870),
        alerts_firing(960, "NeuronWebCertificateExpires"),
    )
    found = annotations(tmp_path, frames, "NeuronWebCertificateExpires", 960)
    old, over = sorted(each["summary"] for each in found)
    assert old.startswith("The certificate of old:9415 ends in 13d 11h ")
    assert over == "The certificate of over:9415 has expired."


def test_memory_limit_of_the_container(tmp_path: Path) -> None:
    """Processes beside the exporter count; memory without a limit, and a short peak, fire
    nothing."""

    def memory(used: float) -> Frame:
        return {
            "process_resident_memory_bytes": 50.0,
            "neuron_exporter_memory_used_bytes": used,
            "neuron_exporter_memory_limit_bytes": 100.0,
            **UP,
        }

    machines: dict[str, Frames] = {
        "full:9415": [memory(86.0)] * 120,
        "peak:9415": [memory(99.0 if 40 <= number < 60 else 60.0) for number in range(120)],
        "unlimited:9415": [{"process_resident_memory_bytes": 1e9, **UP}] * 120,
    }
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(870),
        alerts_firing(1200, "NeuronExporterMemoryHigh"),
        {
            "expr": 'count(count_over_time(ALERTS{alertstate="firing"}[30m]))',
            "eval_time": "29m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        },
    )
    (found,) = annotations(tmp_path, machines, "NeuronExporterMemoryHigh", 1200)
    assert found["summary"] == (
        "The exporter's container on full:9415 uses 86% of its memory limit."
    )


def sink(*, last_success: float | None, errors: int = 0) -> Frame:
    """Return a frame of an exporter whose sink is down."""
    shown: Frame = {'neuron_exporter_sink_up{sink="cloudwatch"}': 0.0, **UP}
    if last_success is not None:
        shown['neuron_exporter_sink_last_success_timestamp_seconds{sink="cloudwatch"}'] = (
            last_success
        )
    if errors:
        shown['neuron_exporter_sink_errors_total{code="503",sink="cloudwatch"}'] = float(errors)
    return shown


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (sink(last_success=None), []),
        (sink(last_success=60.0), ["NeuronPublishFailing"]),
        (sink(last_success=None, errors=1), ["NeuronPublishFailing"]),
    ],
    ids=["waits-for-its-first-window", "stuck", "refused"],
)
def test_sink_that_is_down(frame: Frame, expected: list[str], tmp_path: Path) -> None:
    """A window may take an hour, and none ends before."""
    end = 239 * STEP
    check_with_alarms(tmp_path, {"a:9415": [frame] * 240}, alerts_fired(end, *expected))
    rank = {
        "expr": 'count(instance:neuron_problem:rank{reason="sink_failing"})',
        "eval_time": f"{end}s",
        "exp_samples": [{"labels": "{}", "value": 1}] if expected else [],
    }
    build = 'neuron_exporter_build_info{version="1"}'
    check(tmp_path, {"a:9415": [{**frame, build: 1.0}] * 240}, rank)


def restarted(exited: int, stalled: int, missing: int = 0) -> Frame:
    """Return a frame of an exporter that has restarted neuron-monitor, by reason."""
    counts = {"exited": exited, "stalled": stalled, "missing_program": missing}
    series = "neuron_exporter_source_restarts_total"
    return {f'{series}{{reason="{name}"}}': float(each) for name, each in counts.items()} | UP


def test_crashes_for_several_reasons_are_one_loop(tmp_path: Path) -> None:
    """The first restart counts, because its counter exists before; a missing program does not."""
    machines: dict[str, Frames] = {
        "loop:9415": [*[restarted(0, 0)] * 20, *[restarted(2, 1)] * 30],
        "twice:9415": [*[restarted(0, 0)] * 20, *[restarted(1, 1, missing=9)] * 30],
    }
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(19 * STEP),
        alerts_firing(20 * STEP + 120, "NeuronCrashLoop"),
    )
    found = annotations(tmp_path, machines, "NeuronCrashLoop", 20 * STEP + 120)
    assert sorted(each["summary"] for each in found) == [
        f"neuron-monitor on loop:9415 restarts again and again ({reason})."
        for reason in ("exited", "stalled")
    ]
    exited = next(each for each in found if "(exited)" in each["summary"])
    assert (
        "at least 3 times in 15 minutes, 2 of them for the reason exited" in exited["description"]
    )


def failing(group: str, number: int, team: str = "a") -> Frame:
    """Return a frame of an exporter whose reports all had an error in a group."""
    return {
        f'neuron_exporter_group_errors_total{{group="{group}",team="{team}"}}': float(number),
        f'neuron_exporter_reports_total{{team="{team}"}}': float(number),
        **UP,
    }


def test_failing_groups(tmp_path: Path) -> None:
    """Groups that fail on healthy machines fire nothing, and a machine with a new label does not
    end the alert of another."""
    unneeded = ("instance_info", "neuron_k8s_info", "neuron_runtime_vcpu_usage")
    reports = range(1, 121)
    machines: dict[str, Frames] = {
        "blind:9415": [failing("neuron_hw_counters", number) for number in reports],
        "new-label:9415": [
            failing(unneeded[0], number, "a" if number < 90 else "b") for number in reports
        ],
        **{f"{group}:9415": [failing(group, each) for each in reports] for group in unneeded},
    }
    seconds = (1080, 1380, 1410, 1500, 1770)
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(870),
        *(alerts_firing(each, "NeuronGroupFailing") for each in seconds),
    )
    assert len(annotations(tmp_path, machines, "NeuronGroupFailing", 1770)) == 1


def test_dropped_log_lines(tmp_path: Path) -> None:
    dropped = "neuron_exporter_log_lines_dropped_total"
    frames: Frames = [{dropped: float(max(0, number - 40)), **UP} for number in range(100)]
    check_with_alarms(
        tmp_path,
        {"loud:9415": frames, "quiet:9415": [{dropped: 7.0, **UP}] * 100},
        alerts_fired(40 * STEP + 240),
        alerts_firing(40 * STEP + 480, "NeuronLogLinesDropped"),
    )


def test_dropped_dimension_sets(tmp_path: Path) -> None:
    """An exporter that waits for the machine's identity after its start fires nothing."""
    dropped = "neuron_exporter_cloudwatch_dropped_dimension_sets"
    waiting: Frames = [{dropped: float(number < 8), **UP} for number in range(120)]
    machines = {"unknown:9415": [{dropped: 1.0, **UP}] * 120, "new:9415": waiting}
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(870),
        alerts_firing(960, "NeuronDimensionSetsDropped"),
    )
    (found,) = annotations(tmp_path, machines, "NeuronDimensionSetsDropped", 960)
    assert found["summary"] == "unknown:9415 leaves out 1 of its dimension sets in CloudWatch."


def version(name: str, text: str) -> Frame:
    """Return a frame with a version."""
    return {f'{name}{{version="{text}"}}': 1.0, **UP}


@pytest.mark.parametrize("metric", ["neuron_exporter_build_info", "neuron_driver_info"])
def test_versions_of_a_fleet(metric: str, tmp_path: Path) -> None:
    """A rollout of four hours fires nothing, nor do versions of two jobs; a stopped one does."""
    step, count = 240, 8 * 15
    old, new = version(metric, "1"), version(metric, "2")
    rollout: Frames = [*[old] * 60, *[new] * 60]
    stopped: dict[Target, Frames] = {
        Target("a:9415"): [new] * count,
        Target("b:9415"): [old] * count,
        Target("c:9415"): rollout,
    }
    finished: dict[Target, Frames] = {
        Target("a:9415"): [new] * count,
        Target("b:9415"): rollout,
        Target("c:9415", job="neuron-test"): [old] * count,
    }
    end = (count - 1) * step
    check(tmp_path, finished, alerts_fired(end), step=step)
    check(tmp_path, stopped, alerts_firing(end, "NeuronVersionsDiffer"), step=step)
