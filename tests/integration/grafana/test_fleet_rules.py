"""Rules with failed scrapes, jobs of other programs, and several clusters in one Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import dashboards
from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import Target, alerts_fired, alerts_firing, annotations, check
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

FRAMES_PER_HOUR = 3600 // STEP
BUILD = 'neuron_exporter_build_info{version="1"}'
HEALTHY: Frame = {"neuron_exporter_up": 1.0, BUILD: 1.0}
LOST = 'neuron_exporter_sink_dropped_requests_total{sink="cloudwatch",reason="refused"}'


def test_loss_fires_once(tmp_path: Path) -> None:
    """A loss of hours ago does not fire again although the scrape of an hour ago failed."""
    lost: Frame = {**HEALTHY, LOST: 3.0}
    frames: list[Frame | None] = [*[HEALTHY] * 20, *[lost] * (4 * FRAMES_PER_HOUR)]
    failed = 20 + 2 * FRAMES_PER_HOUR
    # Rules are evaluated at every fourth scrape.
    assert failed % 4 == 0
    frames[failed] = None
    frames[failed + 61 : failed + 67] = [None] * 6
    check_with_alarms(
        tmp_path,
        {"faulty:9415": frames},
        alerts_firing(21 * STEP + 60, "NeuronPublishLoss"),
        {
            "expr": 'count(count_over_time(ALERTS{alertname="NeuronPublishLoss"}[2h]))',
            "eval_time": f"{(20 + 4 * FRAMES_PER_HOUR) * STEP - STEP}s",
            "exp_samples": [],
        },
    )


def test_other_jobs_fire_nothing(tmp_path: Path) -> None:
    """Jobs of workloads and monitors with "neuron" in their names are not exporters."""
    other = {"neuron_runtime_is_fine": 1.0}
    machines: dict[Target, Frames] = {
        Target("here:9415"): [HEALTHY] * FRAMES_PER_HOUR,
        Target("there:8000", job="neuron-workloads/inference"): [other] * FRAMES_PER_HOUR,
        Target("gone:8000", job="neuron-workloads/inference"): [None] * FRAMES_PER_HOUR,
        # The same job in another cluster is not one of exporters.
        Target("there:8000", cluster="other"): [other] * FRAMES_PER_HOUR,
    }
    check_with_alarms(tmp_path, machines, alerts_fired(3600))


def test_fleet_unseen_over_a_weekend(tmp_path: Path) -> None:
    step = 240
    frames: Frames = [*[HEALTHY] * 10, *[None] * (3 * 86400 // step)]
    check(
        tmp_path,
        {"gone:9415": frames},
        alerts_firing(3 * 86400, "NeuronExporterDown", "NeuronFleetUnseen"),
        step=step,
    )


def test_paused_machine_is_not_an_unseen_fleet(tmp_path: Path) -> None:
    """The only machine of a job is paused for two hours, and another job's fails."""
    state = 'neuron_exporter_source_state{state="%s"}'
    well: Frame = {**HEALTHY, state % "paused": 0.0, state % "exited": 0.0}
    down: Frame = {**well, "neuron_exporter_up": 0.0}
    paused: Frames = [*[well] * 20, *[{**down, state % "paused": 1.0}] * (2 * FRAMES_PER_HOUR)]
    failed: Frames = [*[well] * 20, *[{**down, state % "exited": 1.0}] * (2 * FRAMES_PER_HOUR)]
    check_with_alarms(
        tmp_path,
        {"a:9415": paused},
        alerts_fired(20 * STEP + 3600),
        alerts_firing(20 * STEP + 7000, "NeuronSourcePaused"),
    )
    check_with_alarms(
        tmp_path,
        {"a:9415": failed},
        alerts_firing(20 * STEP + 7000, "NeuronFleetUnseen", "NeuronSourceDown"),
    )


CORE = 'neuroncore_utilization_ratio{neuroncore="0",instance_id="%s"}'
RUNTIME = 'neuroncore_runtime_info{neuroncore="0",instance_id="%s",runtime_tag="llama"}'
ALLOCATED = 'neuroncore_allocated{neuroncore="0",instance_id="%s",pod="one"}'


def machine(instance_id: str, share: float) -> Frame:
    """Return a machine with one core, which a runtime uses and which is allocated to a pod."""
    owned = {name % instance_id: 1.0 for name in (RUNTIME, ALLOCATED)}
    return {**HEALTHY, CORE % instance_id: share, **owned}


def clusters(one: Frames, other: Frames) -> dict[Target, Frames]:
    """Return targets in two clusters with the same job and instance."""
    return {
        Target("10.0.0.1:9415", cluster="one"): one,
        Target("10.0.0.1:9415", cluster="other"): other,
    }


def recorded_per_cluster(series: str, **values: float) -> dict[str, object]:
    """Return an expectation: the values of a recorded series in each cluster."""
    return {
        "expr": f"sum by (cluster) ({series})",
        "eval_time": "1800s",
        "exp_samples": [
            {"labels": f'{{cluster="{cluster}"}}', "value": value}
            for cluster, value in values.items()
        ],
    }


def test_recorded_series_are_per_cluster(tmp_path: Path) -> None:
    """Cores are joined with runtimes of their own cluster."""
    machines = clusters(
        [machine("i-1", 0.25)] * FRAMES_PER_HOUR, [machine("i-2", 0.0)] * FRAMES_PER_HOUR
    )
    check(
        tmp_path,
        machines,
        recorded_per_cluster("workload:neuroncore_utilization:avg", one=0.25, other=0.0),
        recorded_per_cluster("holder:neuroncores_allocated_idle:count5m", other=1.0),
    )


def test_one_of_two_clusters_unseen(tmp_path: Path) -> None:
    gone: Frames = [*[HEALTHY] * 20, *[None] * FRAMES_PER_HOUR]
    machines = {
        **clusters([HEALTHY] * (FRAMES_PER_HOUR + 20), gone),
        Target("10.0.0.2:9415", cluster="one"): [HEALTHY] * (FRAMES_PER_HOUR + 20),
    }
    check(tmp_path, machines, alerts_firing(3600, "NeuronExporterDown", "NeuronFleetUnseen"))
    (found,) = annotations(tmp_path, machines, "NeuronFleetUnseen", 3600)
    assert found["summary"] == (
        "Fewer than half of the machines of job neuron in cluster other report."
    )


def vanishing_machine(labels: str) -> Frames:
    """Return a busy machine that service discovery drops after five minutes."""
    return [*[{**HEALTHY, f"neuroncores_in_use{labels}": 1.0}] * 20, *[{}] * 100]


def staying_machine(labels: str) -> Frames:
    """Return a busy machine that stays."""
    return [{**HEALTHY, f"neuroncores_in_use{labels}": 1.0}] * 120


@pytest.mark.parametrize("labels", ["", '{instance_id="i-1"}'])
def test_machine_vanished_among_similar_ones(labels: str, tmp_path: Path) -> None:
    """Another cluster has a machine of the same job, instance and id; this one has others."""
    machines = clusters(staying_machine(labels), vanishing_machine(labels))
    machines[Target("10.0.0.9:9415", cluster="other")] = staying_machine("")
    check_with_alarms(
        tmp_path,
        machines,
        alerts_firing(20 * STEP + 690, "NeuronMachineVanished"),
        alerts_fired(120 * STEP - STEP, "NeuronMachineVanished"),
    )


def test_dashboard_counts_shared_cores_once(tmp_path: Path) -> None:
    document = dashboards.load(dashboards.FOLDER / "workload.json")
    (target,) = dashboards.find_panel(document, "Cores").targets
    variables = {"cluster": ".*", "job": ".+", "type": ".*", "workload": ".+", "by": "runtime_tag"}
    runtimes = {
        f'neuroncore_runtime_info{{neuroncore="{core}",runtime_tag="{tag}"}}': 1.0
        for core, tag in ((0, "llama"), (0, "bert"), (1, "llama"))
    }
    check(
        tmp_path,
        clusters([runtimes] * 20, [runtimes] * 20),
        {
            "expr": dashboards.resolve(target["expr"], variables),
            "eval_time": "200s",
            "exp_samples": [{"labels": "{}", "value": 4}],
        },
    )
