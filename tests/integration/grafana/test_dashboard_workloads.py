"""The states of workloads on the dashboards Fleet and Workload, over the committed rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from grafana.rules_src.parameters import LATENCY_FACTOR
from neuron_exporter.facts.problems import BY_REASON
from tests.support import dashboards
from tests.support.promtool import check
from tests.support.rule_frames import STEP, Frame, Frames

pytestmark = pytest.mark.usefixtures("needs_prometheus")

SECONDS = 3600
COUNT = SECONDS // STEP
USUAL = 0.01
HUNG, FAILING, STALLED = (
    float(BY_REASON[reason].rank) for reason in ("hung", "failing", "stalled")
)
SLOW, IDLE, WELL = 20.0, 5.0, 0.0

VARIABLES = {
    **dict.fromkeys(("cluster", "job", "type"), ".*"),
    "workload": ".+",
    "__range": f"{SECONDS}s",
    "__rate_interval": "60s",
}


def frame(number: int, tag: str, pod: str, **changes: float) -> Frame:
    """Return a scrape of a process with one core, with 100 executions per second by default.

    Args:
        changes: `p99` and `gap` in seconds, and `failed` executions per second.
    """
    gap, p99, failed = (
        float(changes.get(name, value))
        for name, value in (("gap", 0.0), ("p99", USUAL), ("failed", 0.0))
    )
    runtime = f'runtime_tag="{tag}",pod="{pod}"'
    rate = 0.0 if gap else 100.0
    return {
        f'neuroncore_utilization_ratio{{neuroncore="{tag}"}}': 0.5,
        f'neuroncore_runtime_info{{neuroncore="{tag}",pid="1",{runtime}}}': 1.0,
        f"neuron_execution_gap_seconds{{{runtime}}}": gap,
        f'execution_latency_seconds{{percentile="p99",{runtime}}}': p99,
        f'execution_status_total{{status_type="completed",{runtime}}}': number * STEP * rate,
        f'execution_status_total{{status_type="timed_out",{runtime}}}': number * STEP * failed,
    }


def machine(number: int, *processes: Frame) -> Frame:
    """Return a scrape of a machine with these processes."""
    shown: Frame = {
        "neuron_exporter_up": 1.0,
        'neuron_exporter_build_info{version="1"}': 1.0,
        'instance_info{instance_type="inf2.xlarge"}': 1.0,
        "neuron_exporter_reports_total": float(number),
        "neuron_exporter_report_period_seconds": float(STEP),
    }
    for each in processes:
        shown.update(each)
    return typed(shown)


def typed(samples: Frame) -> Frame:
    """Add the machine's type to all series, as the exporter does."""
    return {
        name if name.startswith("instance_info") else with_type(name): value
        for name, value in samples.items()
    }


def with_type(name: str) -> str:
    """Return a series with the label `instance_type`."""
    if name.startswith("neuron_exporter_"):
        return name
    return f'{name[:-1]},instance_type="inf2.xlarge"}}'


def states(
    name: str, title: str, values: Mapping[str, float], seconds: int = SECONDS, **chosen: str
) -> dict[str, object]:
    """Return an expectation: the state of each workload in a table of a dashboard."""
    return column(name, title, "State", values, seconds, **chosen)


def column(
    name: str,
    title: str,
    heading: str,
    values: Mapping[str, float],
    seconds: int = SECONDS,
    **chosen: str,
) -> dict[str, object]:
    """Return an expectation: the value of each workload in a column of a table."""
    document = dashboards.load(dashboards.FOLDER / f"{name}.json")
    panel = dashboards.find_panel(document, title)
    (query,) = (each for each in panel.targets if panel.headings[each["refId"]] == heading)
    expression = dashboards.resolve(query["expr"], {**VARIABLES, **chosen})
    return {
        "expr": f"max by (workload) ({expression})",
        "eval_time": f"{seconds - STEP}s",
        "exp_samples": [
            {"labels": f'{{workload="{workload}"}}', "value": value}
            for workload, value in values.items()
        ],
    }


@pytest.fixture
def frames() -> dict[str, Frames]:
    """Return a machine of pods, one of which is slow in the last half of an hour, and others."""
    slow = LATENCY_FACTOR * 1.1 * USUAL
    return {
        "pods:9415": [
            {
                **machine(
                    number,
                    frame(number, "0", "well-0"),
                    frame(number, "1", "slow-0", p99=slow if number > COUNT / 2 else USUAL),
                    # Every tenth reading has a slow execution.
                    frame(number, "2", "spikes-0", p99=20 * USUAL if number % 10 == 0 else USUAL),
                    frame(number, "3", "failing-0", failed=2),
                    frame(number, "4", "", gap=60.0),
                ),
                **typed(
                    {
                        'neuroncore_utilization_ratio{neuroncore="5"}': 0.0,
                        'neuroncore_allocated{neuroncore="5",pod="idle-0"}': 1.0,
                    }
                ),
            }
            for number in range(COUNT)
        ],
        "hung:9415": [
            machine(number, frame(number, "train", "", gap=number * STEP))
            for number in range(COUNT)
        ],
    }


def test_fleet_names_workloads_by_pod_or_tag(tmp_path: Path, frames: dict[str, Frames]) -> None:
    expected = {
        "train": HUNG,
        "failing-0": FAILING,
        "slow-0": SLOW,
        "4": STALLED,
        "idle-0": IDLE,
        "well-0": WELL,
        "spikes-0": WELL,
    }
    check(tmp_path, frames, states("fleet", "Workloads, worst first", expected))


@pytest.mark.parametrize(
    "title", ["Workloads, worst first", "Workloads on each machine, worst first"]
)
@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (
            "pod",
            {
                "failing-0": FAILING,
                "slow-0": SLOW,
                "idle-0": IDLE,
                "well-0": WELL,
                "spikes-0": WELL,
            },
        ),
        (
            "runtime_tag",
            {"train": HUNG, "3": FAILING, "1": SLOW, "4": STALLED, "0": WELL, "2": WELL},
        ),
    ],
)
def test_workload_names_them_by_the_chosen_label(
    tmp_path: Path, frames: dict[str, Frames], title: str, by: str, expected: Mapping[str, float]
) -> None:
    check(tmp_path, frames, states("workload", title, expected, by=by))


def test_slow_for_longer_than_the_time_shown(tmp_path: Path) -> None:
    """The tag has a history of two hours, which is what the latency is compared with."""
    hours, slow = 3, LATENCY_FACTOR * 1.1 * USUAL
    count = hours * COUNT
    frames: Frames = [
        machine(number, frame(number, "0", "a", p99=slow if number > count - COUNT / 2 else USUAL))
        for number in range(count)
    ]
    title, seconds = "Workloads, worst first", hours * SECONDS
    check(
        tmp_path,
        {"a:9415": frames},
        states("fleet", title, {"a": SLOW}, seconds, __range="900s"),
        states("fleet", title, {"a": WELL}, seconds - SECONDS, __range="900s"),
    )


@pytest.mark.parametrize(
    ("name", "chosen"), [("fleet", {}), ("workload", {"by": "runtime_tag"})], ids=str
)
def test_the_worst_machine_decides_and_each_problem_has_its_number_of_machines(
    tmp_path: Path, name: str, chosen: dict[str, str]
) -> None:
    """Of six machines with a workload, one hangs, one fails, one is slow, and one is both of these.

    On all machines together, fewer than 1 % of its executions fail.
    """
    slow = LATENCY_FACTOR * 1.1 * USUAL

    def shown(number: int, **changes: float) -> Frame:
        p99 = changes.get("p99", USUAL) if number > COUNT / 2 else USUAL
        return machine(number, frame(number, "train", "", **{**changes, "p99": p99}))

    machines: dict[str, Frames] = {
        "hung:9415": [shown(number, gap=number * STEP) for number in range(COUNT)],
        "failing:9415": [shown(number, failed=1.2) for number in range(COUNT)],
        "slow:9415": [shown(number, p99=slow) for number in range(COUNT)],
        "both:9415": [shown(number, p99=slow, failed=1.2) for number in range(COUNT)],
        "well-1:9415": [shown(number) for number in range(COUNT)],
        "well-2:9415": [shown(number) for number in range(COUNT)],
    }
    columns = {"State": HUNG, "Machines": 6, "Hung on": 1, "Failing on": 2, "Slow on": 2}
    check(
        tmp_path,
        machines,
        *(
            column(name, "Workloads, worst first", heading, {"train": value}, **chosen)
            for heading, value in columns.items()
        ),
    )
