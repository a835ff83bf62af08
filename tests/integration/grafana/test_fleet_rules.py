"""The Prometheus rules where scrapes fail, jobs are of others, and clusters share a Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import dashboards
from tests.support.promtool import Target, alerts_fired, alerts_firing, annotations, check
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

HOUR = 3600 // STEP
BUILD = 'neuron_exporter_build_info{version="1"}'
WELL: Frame = {"neuron_exporter_up": 1.0, BUILD: 1.0}
LOST = 'neuron_exporter_sink_dropped_requests_total{sink="cloudwatch",reason="refused"}'


def test_a_loss_is_told_once(tmp_path: Path) -> None:
    """A loss of hours ago is no new one, though the scrape of an hour ago was missed."""
    lost: Frame = {**WELL, LOST: 3.0}
    frames: list[Frame | None] = [*[WELL] * 20, *[lost] * (4 * HOUR)]
    missed = 20 + 2 * HOUR
    # Rules are evaluated at every second scrape.
    assert missed % 2 == 0
    frames[missed] = None
    frames[missed + 61 : missed + 67] = [None] * 6
    check(
        tmp_path,
        {"ill:9415": frames},
        alerts_firing(21 * STEP + 60, "NeuronPublishLoss"),
        {
            "expr": 'count(count_over_time(ALERTS{alertname="NeuronPublishLoss"}[2h]))',
            "eval_time": f"{(20 + 4 * HOUR) * STEP - STEP}s",
            "exp_samples": [],
        },
    )


def test_a_job_of_others_is_not_judged(tmp_path: Path) -> None:
    """Workloads and monitors whose job has "neuron" in its name are no exporters, whether they
    answer or not."""
    other = {"neuron_runtime_is_fine": 1.0}
    machines: dict[Target, Frames] = {
        Target("here:9415"): [WELL] * HOUR,
        Target("there:8000", job="neuron-workloads/inference"): [other] * HOUR,
        Target("gone:8000", job="neuron-workloads/inference"): [None] * HOUR,
        # A job is one cluster's: it is an exporter's here, and not there.
        Target("there:8000", cluster="other"): [other] * HOUR,
    }
    check(tmp_path, machines, alerts_fired(3600))


def test_a_fleet_that_stays_unseen_stays_told(tmp_path: Path) -> None:
    """Whoever comes back after a weekend still sees that nothing answers."""
    step = 240
    frames: Frames = [*[WELL] * 10, *[None] * (3 * 86400 // step)]
    check(
        tmp_path,
        {"gone:9415": frames},
        alerts_firing(3 * 86400, "NeuronExporterDown", "NeuronFleetUnseen"),
        step=step,
    )


CORE = 'neuroncore_utilization_ratio{neuroncore="0",instance_id="%s"}'
HELD = 'neuroncore_runtime_info{neuroncore="0",instance_id="%s",runtime_tag="llama"}'
GIVEN = 'neuroncore_allocated{neuroncore="0",instance_id="%s",pod="one"}'


def used(instance_id: str, share: float) -> Frame:
    """A machine with one core, which a runtime holds and a pod was given."""
    held = {name % instance_id: 1.0 for name in (HELD, GIVEN)}
    return {**WELL, CORE % instance_id: share, **held}


def clusters(one: Frames, other: Frames) -> dict[Target, Frames]:
    """Targets of two clusters that have the same job and instance."""
    return {
        Target("10.0.0.1:9415", cluster="one"): one,
        Target("10.0.0.1:9415", cluster="other"): other,
    }


def recorded(series: str, **values: float) -> dict[str, object]:
    """An expectation: what is recorded of each cluster."""
    return {
        "expr": f"sum by (cluster) ({series})",
        "eval_time": "1800s",
        "exp_samples": [
            {"labels": f'{{cluster="{cluster}"}}', "value": value}
            for cluster, value in values.items()
        ],
    }


def test_clusters_are_recorded_apart(tmp_path: Path) -> None:
    """Cores are joined with who holds them in their own cluster."""
    machines = clusters([used("i-1", 0.25)] * HOUR, [used("i-2", 0.0)] * HOUR)
    check(
        tmp_path,
        machines,
        recorded("workload:neuroncore_utilization:avg", one=0.25, other=0.0),
        recorded("holder:neuroncores_allocated_idle:count5m", other=1.0),
    )


def test_a_cluster_that_nobody_sees_is_told_beside_one_that_is_well(tmp_path: Path) -> None:
    """A job is a fleet in each cluster, and the alert names whose it is."""
    gone: Frames = [*[WELL] * 20, *[None] * HOUR]
    machines = {
        **clusters([WELL] * (HOUR + 20), gone),
        Target("10.0.0.2:9415", cluster="one"): [WELL] * (HOUR + 20),
    }
    check(tmp_path, machines, alerts_firing(3600, "NeuronExporterDown", "NeuronFleetUnseen"))
    (told,) = annotations(tmp_path, machines, "NeuronFleetUnseen", 3600)
    assert told["summary"] == (
        "Fewer than half of the machines of job neuron in cluster other report."
    )


def vanishing(labels: str) -> Frames:
    """A machine at work that service discovery no longer names after five minutes."""
    return [*[{**WELL, f"neuroncores_in_use{labels}": 1.0}] * 20, *[{}] * 100]


def staying(labels: str) -> Frames:
    """A machine that goes on."""
    return [{**WELL, f"neuroncores_in_use{labels}": 1.0}] * 120


@pytest.mark.parametrize("labels", ["", '{instance_id="i-1"}'])
def test_a_machine_that_vanishes_is_told_beside_its_like(labels: str, tmp_path: Path) -> None:
    """In another cluster there may be one of the same job, instance and id; in this one there are
    others, of which no more than their addresses is known."""
    machines = clusters(staying(labels), vanishing(labels))
    machines[Target("10.0.0.9:9415", cluster="other")] = staying("")
    check(
        tmp_path,
        machines,
        alerts_firing(20 * STEP + 690, "NeuronMachineVanished"),
        alerts_fired(120 * STEP - STEP, "NeuronMachineVanished"),
    )


def test_a_core_that_workloads_share_is_one_core(tmp_path: Path) -> None:
    """The dashboard's number of cores is that of distinct ones, whoever holds them."""
    document = dashboards.load(dashboards.FOLDER / "workload.json")
    (panel,) = (
        each
        for each in dashboards.panels(document)
        if each.title == "Cores" and each.document["type"] == "stat"
    )
    (target,) = panel.targets
    every = {"cluster": ".*", "job": ".+", "type": ".*", "workload": ".+", "by": "runtime_tag"}
    held = {
        f'neuroncore_runtime_info{{neuroncore="{core}",runtime_tag="{tag}"}}': 1.0
        for core, tag in ((0, "llama"), (0, "bert"), (1, "llama"))
    }
    check(
        tmp_path,
        clusters([held] * 20, [held] * 20),
        {
            "expr": dashboards.resolve(target["expr"], every),
            "eval_time": "200s",
            "exp_samples": [{"labels": "{}", "value": 4}],
        },
    )
