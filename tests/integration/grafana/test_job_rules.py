"""The alert on machines that fall behind in a job, and what it must not take for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import dashboards
from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import (
    Target,
    alerts_fired,
    alerts_firing,
    annotations,
    check,
)
from tests.support.rule_frames import STEP, Frame, Frames, with_failed_scrapes

pytestmark = pytest.mark.usefixtures("needs_prometheus")

COUNT = 3600 // STEP
ONSET = 80
"""Frame at which a machine becomes slow."""

ALERT = "NeuronStraggler"
HEALTHY: Frame = {"neuron_exporter_up": 1.0, 'neuron_exporter_build_info{version="1"}': 1.0}
CORES = 2
NAMED = 'job_id="4711",job_name="llama"'


def frame(machine: str, busy: float, executions: float, labels: str, cores: int) -> Frame:
    """Return a scrape of a machine with a job on some cores, and another idle core."""
    where = f'instance_id="{machine}"'
    runtime = ",".join(filter(None, (where, 'runtime_tag="1"', labels)))
    utilization = {f"{core}": busy for core in range(cores)} | {f"{cores}": 0.0}
    return {
        **HEALTHY,
        **{
            f'neuroncore_utilization_ratio{{neuroncore="{core}",{where}}}': value
            for core, value in utilization.items()
        },
        **{
            f'neuroncore_runtime_info{{neuroncore="{core}",pid="1",{runtime}}}': 1.0
            for core in range(cores)
        },
        f'execution_status_total{{status_type="completed",{runtime}}}': executions,
        f'execution_status_total{{status_type="timed_out",{runtime}}}': 0.0,
    }


def machine(
    name: str, *phases: tuple[int, float, float], labels: str = NAMED, cores: int = CORES
) -> list[Frame]:
    """Return a machine's scrapes.

    Args:
        phases: the first frame of each, the utilization of the job's cores, and the executions
            that are completed per second and core.
        labels: those of the job.
    """
    frames: list[Frame] = []
    executions = 0.0
    for number in range(COUNT):
        _, busy, rate = [each for each in phases if each[0] <= number][-1]
        executions += STEP * rate * cores
        frames.append(frame(name, busy, executions, labels, cores))
    return frames


def well(name: str, labels: str = NAMED, cores: int = CORES) -> list[Frame]:
    """Return a machine that works as usual."""
    return machine(name, (0, 0.8, 10.0), labels=labels, cores=cores)


def slow(name: str, busy: float = 0.2, rate: float = 10.0) -> list[Frame]:
    """Return a machine that falls behind."""
    return machine(name, (0, 0.8, 10.0), (ONSET, busy, rate))


def job(*last: Frames, others: int = 2) -> dict[str, Frames]:
    """Return the machines of a job: those that are well, then these."""
    frames = [*(well(f"i-{index}") for index in range(others)), *last]
    return {f"m{index}:9415": each for index, each in enumerate(frames)}


END = COUNT * STEP - STEP


@pytest.mark.parametrize(
    ("busy", "rate", "signal"), [(0.2, 10.0, "utilization"), (0.8, 2.0, "executions")]
)
def test_machine_far_below_the_median(
    tmp_path: Path, busy: float, rate: float, signal: str
) -> None:
    """It fires after ten minutes, whichever of the two differs, and failed scrapes do not end it.

    Machines that wait for each other have equal rates, and only those that wait are busy.
    """
    behind = with_failed_scrapes(slow("i-9", busy, rate), ONSET + 20, ONSET + 50, COUNT - 10)
    machines = job(behind)
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(ONSET * STEP + 600),
        alerts_firing(ONSET * STEP + 960, ALERT),
        alerts_firing(END, ALERT),
        alerts_fired(END, ALERT),
    )
    (found,) = annotations(tmp_path, machines, ALERT, END)
    assert found["summary"] == f"i-9 (m2:9415) falls behind in job 4711 (llama) by {signal}."
    share = {"utilization": "25%", "executions": "20%"}[signal]
    assert share in found["description"]


def test_machine_that_catches_up_is_no_straggler(tmp_path: Path) -> None:
    """It was slow for eight minutes."""
    short = machine("i-9", (0, 0.8, 10.0), (ONSET, 0.1, 1.0), (ONSET + 32, 0.8, 10.0))
    check_with_alarms(tmp_path, job(short), alerts_fired(END))


def test_machines_that_differ_less_are_no_stragglers(tmp_path: Path) -> None:
    check_with_alarms(tmp_path, job(slow("i-9", 0.5, 6.0)), alerts_fired(END))


def test_of_two_machines_neither_is_a_straggler(tmp_path: Path) -> None:
    check_with_alarms(tmp_path, job(slow("i-9", 0.1, 1.0), others=1), alerts_fired(END))


@pytest.mark.parametrize("labels", ["", 'job_id="none"'])
def test_processes_without_a_job_are_not_compared(tmp_path: Path, labels: str) -> None:
    machines = {
        f"m{index}:9415": machine(f"i-{index}", (0, busy, 10.0), labels=labels)
        for index, busy in enumerate((0.8, 0.8, 0.1))
    }
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(END),
        {
            "expr": 'count({__name__=~"instance_job_id:.*"})',
            "eval_time": f"{END}s",
            "exp_samples": [],
        },
    )


def test_job_that_waits_as_a_whole_has_no_straggler(tmp_path: Path) -> None:
    machines = {
        f"m{index}:9415": machine(f"i-{index}", (0, busy, 0.0))
        for index, busy in enumerate((0.08, 0.08, 0.0))
    }
    check_with_alarms(tmp_path, machines, alerts_fired(END))


def test_few_executions_are_not_compared(tmp_path: Path) -> None:
    """One in a hundred seconds: whether three or one of them end in five minutes is chance."""
    machines = {
        f"m{index}:9415": machine(f"i-{index}", (0, 0.8, rate))
        for index, rate in enumerate((0.005, 0.005, 0.001))
    }
    check_with_alarms(tmp_path, machines, alerts_fired(END))


def test_machine_with_fewer_of_the_jobs_processes_is_no_straggler(tmp_path: Path) -> None:
    """It completes a quarter of the others' executions, on a quarter of their cores."""
    machines = {
        f"m{index}:9415": well(f"i-{index}", cores=cores) for index, cores in enumerate((8, 8, 2))
    }
    check_with_alarms(tmp_path, machines, alerts_fired(END))


def test_machine_on_which_the_job_ends_is_no_straggler(tmp_path: Path) -> None:
    """Its cores are free at once; its counters stay for ten minutes, as the exporter does it."""
    frames = well("i-9")
    idle = {name: 0.0 for name in frames[0] if name.startswith("neuroncore_utilization_ratio")}
    last = {
        name: value
        for name, value in frames[ONSET].items()
        if name.startswith("execution_status_total")
    }
    kept = 600 // STEP
    after: Frames = [
        *[{**HEALTHY, **idle, **last}] * kept,
        *[{**HEALTHY, **idle}] * (COUNT - ONSET - kept),
    ]
    ended: Frames = [*frames[:ONSET], *after]
    check_with_alarms(tmp_path, job(ended), alerts_fired(END))


def test_machine_that_joins_late_has_time_to_compile(tmp_path: Path) -> None:
    """It is idle for 15 minutes after it has joined."""
    late = machine("i-9", (0, 0.0, 0.0), (ONSET + 60, 0.8, 10.0))
    joins: Frames = [*[HEALTHY] * ONSET, *late[ONSET:]]
    check_with_alarms(tmp_path, job(joins), alerts_fired(END))


def test_machine_that_never_catches_up_after_it_has_joined(tmp_path: Path) -> None:
    late = machine("i-9", (0, 0.0, 0.0))
    joins: Frames = [*[HEALTHY] * ONSET, *late[ONSET:]]
    check_with_alarms(
        tmp_path,
        job(joins),
        alerts_fired(ONSET * STEP + 1170),
        alerts_firing(ONSET * STEP + 1320, ALERT),
    )


def test_equal_ids_in_two_clusters_are_two_jobs(tmp_path: Path) -> None:
    """Together they would be four machines with a median of 55 %."""
    machines = {
        Target(f"m{index}:9415", cluster=cluster): machine(f"i-{cluster}-{index}", (0, busy, 10.0))
        for cluster, busy in (("one", 0.9), ("other", 0.2))
        for index in range(2)
    }
    check_with_alarms(
        tmp_path,
        machines,
        alerts_fired(END),
        {
            "expr": "job_id:neuroncore_utilization:median_avg5m",
            "eval_time": f"{END}s",
            "exp_samples": [
                {
                    "labels": 'job_id:neuroncore_utilization:median_avg5m{job="neuron",'
                    f'cluster="{cluster}",job_id="4711"}}',
                    "value": busy,
                }
                for cluster, busy in (("one", 0.9), ("other", 0.2))
            ],
        },
    )


def test_other_jobs_on_the_same_machines(tmp_path: Path) -> None:
    """A machine that is slow in one job is not in another."""
    machines = job(slow("i-9"))
    other = well("i-0", labels='job_id="5"')

    def with_other(each: Frame | None, more: Frame) -> Frame:
        elsewhere = {
            name.replace('neuroncore="', 'neuroncore="1'): value for name, value in more.items()
        }
        return {**(each or {}), **elsewhere}

    both: dict[str, Frames] = {
        name: [with_other(*pair) for pair in zip(frames, other, strict=True)]
        for name, frames in machines.items()
    }
    check_with_alarms(tmp_path, both, alerts_firing(END, ALERT))
    (found,) = annotations(tmp_path, both, ALERT, END)
    assert "job 4711" in found["summary"]


def test_table_has_one_row_for_each_machine(tmp_path: Path) -> None:
    """Grafana merges the values of queries with equal labels."""
    document = dashboards.load(dashboards.FOLDER / "workload.json")
    panel = dashboards.find_panel(document, "Machines of each job, slowest first")
    variables = {
        **dict.fromkeys(("cluster", "job", "type"), ".*"),
        "workload": ".+",
        "by": "runtime_tag",
    }
    values = {
        "Cores": (2.0, 2.0, 2.0),
        "Utilization": (0.8, 0.8, 0.2),
        "Of the median": (1.0, 1.0, 0.25),
        "Executions/s and core": (10.0, 10.0, 10.0),
        "Of their median": (1.0, 1.0, 1.0),
    }
    expected = [
        {
            "expr": f"round({dashboards.resolve(query['expr'], variables)}, 0.01)",
            "eval_time": f"{END}s",
            "exp_samples": [
                {
                    "labels": f'{{job="neuron",instance="m{index}:9415",instance_id="{machine_id}",'
                    f"{NAMED}}}",
                    "value": value,
                }
                for index, (machine_id, value) in enumerate(
                    zip(("i-0", "i-1", "i-9"), values[panel.headings[query["refId"]]], strict=True)
                )
            ],
        }
        for query in panel.targets
    ]
    assert len(expected) == len(values)
    check(tmp_path, job(slow("i-9")), *expected)
