"""Rules on executions that fail, time out, are slow or hang, at rates that no scenario has."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import alerts_fired, alerts_firing, annotations, check
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

MINUTES = 20
END = MINUTES * 60 - STEP


def executions(error_type: str = "", **per_minute: float) -> list[Frame]:
    """Return frames with a number of executions per minute, by status.

    All failed ones count as errors of this type.
    """
    failed = sum(count for status, count in per_minute.items() if status != "completed")
    frames = []
    for number in range(MINUTES * 60 // STEP):
        minutes = number * STEP / 60
        shown: Frame = {
            f'neuron_executions_total{{status_type="{status}"}}': float(int(count * minutes))
            for status, count in per_minute.items()
        }
        if error_type:
            series = f'neuron_execution_errors_total{{error_type="{error_type}"}}'
            shown[series] = float(int(failed * minutes))
        frames.append({**shown, "neuron_exporter_up": 1.0})
    return frames


@pytest.mark.parametrize("error_type", ["hardware", "runtime"])
def test_failures_of_the_machine_are_critical(error_type: str, tmp_path: Path) -> None:
    frames = executions(error_type, completed=1000, completed_with_err=20)
    check_with_alarms(
        tmp_path,
        {"bad:9415": frames},
        alerts_fired(270),
        alerts_firing(450, "NeuronErrorRatio"),
        alerts_fired(END, "NeuronErrorRatio"),
    )


def test_timeouts_are_critical_if_they_are_many(tmp_path: Path) -> None:
    check_with_alarms(
        tmp_path,
        {"slow:9415": executions(completed=1000, timed_out=20)},
        alerts_firing(450, "NeuronErrorRatio", "NeuronTimeouts"),
        alerts_fired(END, "NeuronErrorRatio", "NeuronTimeouts"),
    )


@pytest.mark.parametrize(
    ("error_type", "status"),
    [
        ("", "incorrect_input"),
        ("numerical", "completed_with_num_err"),
        ("model", "completed_with_err"),
        ("transient", "failed_to_queue"),
    ],
)
def test_failures_of_the_workload_are_a_warning(
    error_type: str, status: str, tmp_path: Path
) -> None:
    frames = executions(error_type, completed=1000, **{status: 20})
    check_with_alarms(
        tmp_path,
        {"input:9415": frames},
        alerts_fired(270),
        alerts_firing(450, "NeuronWorkloadErrorRatio"),
        alerts_fired(END, "NeuronWorkloadErrorRatio"),
    )


def test_few_failures_among_few_executions_fire_nothing(tmp_path: Path) -> None:
    """One `incorrect_input` in four minutes is a quarter of all executions of an idle service."""
    check_with_alarms(
        tmp_path,
        {
            "idle:9415": executions(completed=0.75, incorrect_input=0.25),
            "slow:9415": executions("hardware", completed=5, completed_with_err=1.5),
        },
        alerts_fired(END),
    )


def test_share_of_timeouts(tmp_path: Path) -> None:
    """0.5 % of timeouts fire an alert, 0.05 % do not."""
    check_with_alarms(
        tmp_path,
        {"many:9415": executions(completed=3980, timed_out=20)},
        alerts_fired(270),
        alerts_firing(450, "NeuronTimeouts"),
        alerts_fired(END, "NeuronTimeouts"),
    )
    check_with_alarms(
        tmp_path, {"few:9415": executions(completed=8000, timed_out=4)}, alerts_fired(END)
    )


def test_timeouts_among_few_executions_fire_nothing(tmp_path: Path) -> None:
    """One of three executions a minute times out, which was an alert."""
    check_with_alarms(
        tmp_path, {"rare:9415": executions(completed=2, timed_out=1)}, alerts_fired(END)
    )


@pytest.mark.parametrize(("per_minute", "expected"), [(30, ["NeuronLatencyHigh"]), (10, [])])
def test_latency_of_few_executions_is_not_judged(
    per_minute: int, expected: list[str], tmp_path: Path
) -> None:
    """The p99 rises to ten times its value after three hours."""
    step, rises, count = 60, 180, 210
    frames: list[Frame] = [
        {
            'execution_latency_seconds{percentile="p99",runtime_tag="bert"}': (
                1.0 if minute > rises else 0.1
            ),
            'execution_status_total{status_type="completed",runtime_tag="bert"}': float(
                minute * per_minute
            ),
            "neuron_exporter_up": 1.0,
        }
        for minute in range(count)
    ]
    check_with_alarms(
        tmp_path,
        {"slow:9415": frames},
        alerts_firing((count - 1) * step, *expected),
        alerts_fired((count - 1) * step, *expected),
        step=step,
    )


RUNTIME = 'instance_id="i-1",runtime_tag="llama"'


def gap(reports: int, seconds: float, longest: float | None = None, labels: str = RUNTIME) -> Frame:
    """Return a frame of an exporter with a number of reports, and the gap of a runtime."""
    shown: Frame = {
        f"neuron_execution_gap_seconds{{{labels}}}": float(seconds),
        "neuron_exporter_reports_total": float(reports),
        "neuron_exporter_report_period_seconds": float(STEP),
        "neuron_exporter_up": 1.0,
        'neuron_exporter_build_info{version="1"}': 1.0,
    }
    if longest is not None:
        shown[f"neuron_execution_gap_max_seconds{{{labels}}}"] = longest
    return shown


def test_restart_of_the_exporter_after_a_hang_fires_nothing(tmp_path: Path) -> None:
    """The gap of the new exporter begins at zero, whether the hang has ended or not."""
    hang, before, after = 80, 30, 60
    ended: Frames = [
        *(gap(number, number * STEP, 1.0) for number in range(hang)),
        *(gap(hang + number, 0.0, 1.0) for number in range(before)),
        *[None] * 2,
        *(gap(number, 0.0, 1.0) for number in range(after)),
    ]
    restart = (hang + before) * STEP
    check_with_alarms(
        tmp_path,
        {"ended:9415": ended},
        alerts_firing(hang * STEP - STEP, "NeuronHang"),
        *(alerts_firing(restart + seconds) for seconds in range(0, after * STEP, 30)),
    )


def test_restart_of_the_exporter_during_a_hang_of_long_executions(tmp_path: Path) -> None:
    """Executions take ten minutes: after the restart, 50 minutes count as before."""
    hang, after = 220, 280
    frames: Frames = [
        *(gap(number, number * STEP, 600.0) for number in range(hang)),
        *(gap(number + 1, number * STEP) for number in range(after)),
    ]
    restart = hang * STEP
    check_with_alarms(
        tmp_path,
        {"hung:9415": frames},
        alerts_firing(2970, "NeuronHangSuspected"),
        *(
            alerts_firing(restart + seconds, "NeuronHang")
            for seconds in range(-60, after * STEP, 120)
        ),
    )


def moved(hang: int, after: int, *, ends: bool, labels: str = RUNTIME) -> dict[str, Frames]:
    """Return a pod of the exporter that sees a hang, and the next one at another address."""
    return {
        "a:9415": [
            *(gap(number, number * STEP, 1.0, labels) for number in range(hang)),
            *[{}] * (after + 2),
        ],
        "b:9415": [
            *[{}] * (hang + 2),
            *(
                gap(number + 1, 0 if ends else number * STEP, None, labels)
                for number in range(after)
            ),
        ],
    }


def test_hang_outlives_the_exporter_at_another_address(tmp_path: Path) -> None:
    """On Kubernetes, an update of the exporter neither ends a hang nor moves it elsewhere."""
    hang, after = 80, 120
    update = hang * STEP
    pods = moved(hang, after, ends=False)
    check_with_alarms(
        tmp_path,
        pods,
        *(
            alerts_firing(update + seconds, "NeuronHang")
            for seconds in range(-60, after * STEP, 60)
        ),
        is_one_machine=True,
    )
    (found,) = annotations(tmp_path, pods, "NeuronHang", update + 600)
    assert "llama on i-1 (b:9415)" in found["summary"]
    assert "busy for 19m 45s" in found["description"]


@pytest.mark.parametrize(
    ("ends", "labels"), [(True, RUNTIME), (False, 'runtime_tag="llama"')], ids=["ended", "unnamed"]
)
def test_hang_that_the_next_exporter_does_not_see(ends: bool, labels: str, tmp_path: Path) -> None:
    """It ends with an execution. Without an instance_id, the next exporter has to measure it."""
    hang, after = 80, 50
    check(
        tmp_path,
        moved(hang, after, ends=ends, labels=labels),
        alerts_firing(hang * STEP - STEP, "NeuronHang"),
        *(alerts_firing(hang * STEP + seconds) for seconds in range(420, after * STEP, 30)),
    )


def test_hang_of_another_exporter_of_the_machine(tmp_path: Path) -> None:
    """Of two sidecars with equal tags, one hangs and the other one has just started."""
    hang = [gap(number, number * STEP, 1.0) for number in range(120)]
    started: Frames = [*[{}] * 100, *(gap(number + 1, number * STEP) for number in range(20))]
    machines: dict[str, Frames] = {"a:9415": hang, "b:9415": started}
    found = annotations(tmp_path, machines, "NeuronHang", 119 * STEP)
    assert ["(a:9415)" in each["summary"] for each in found] == [True]


def test_next_process_with_the_tag_has_no_history(tmp_path: Path) -> None:
    """It may compile for fourteen minutes, although the previous one was fast; then it hangs."""
    before, minutes = 60, 20
    frames: Frames = [
        *(gap(number, 0.0, 1.0) for number in range(before)),
        *(gap(before + number, number * STEP) for number in range(minutes * 60 // STEP)),
    ]
    restart = before * STEP
    reasons = "group by (reason) (instance:neuron_problem:rank)"
    check_with_alarms(
        tmp_path,
        {"a:9415": frames},
        alerts_fired(restart + 890),
        alerts_firing(restart + 1020, "NeuronHang"),
        {
            "expr": reasons,
            "eval_time": f"{restart + 870}s",
            "exp_samples": [{"labels": '{reason="stalled"}', "value": 1}],
        },
        {
            "expr": reasons,
            "eval_time": f"{restart + 960}s",
            "exp_samples": [{"labels": '{reason="hung"}', "value": 1}],
        },
    )
