"""Every panel of the dashboards, evaluated by a real Prometheus over machines in various states."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

import pytest

from neuron_exporter.facts.problems import BY_REASON
from tests.support import dashboards
from tests.support.dashboard_rig import (
    BROKEN,
    DOWN,
    REPORTING,
    WITH_DRIVER,
    WITH_JOB_ID,
    Rig,
    rig,
)
from tests.support.endpoint import reject
from tests.support.filled_panels import (
    ALL,
    ANSWERING,
    FILLED,
    IDLE_CORES,
    INTERMITTENT,
    JOBS_PANELS,
    UNANSWERED,
    VIEWS,
)
from tests.support.otlp_front import otlp_front
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")


T = TypeVar("T")

FILES = [path.stem for path in dashboards.files("prometheus")]


def publishing(url: str, **more: Any) -> dict[str, Any]:
    """Return a configuration that sends to CloudWatch every two seconds."""
    settings = {"region": "us-east-1", "endpoint_url": url, "flush_interval": "2s", **more}
    return {"cloudwatch": {"enabled": True, **settings}}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Start machines of which two deliver to CloudWatch, one with a budget, and over OTLP as well.

    For a third, CloudWatch is down, and it rejects the requests of a fourth.
    """
    folder = tmp_path_factory.mktemp("dashboards")
    with (
        validating_endpoint() as front,
        validating_endpoint() as down,
        validating_endpoint() as rejecting,
        otlp_front() as otlp,
    ):
        down.down()
        rejecting.answer = reject(400, "InvalidParameterValue")
        configurations = {
            "inference": publishing(front.url),
            "mixed": {
                **publishing(front.url, budget={"max_metrics": 4}),
                "otlp": {"enabled": True, "endpoint": otlp.url, "interval": "2s"},
            },
            "training": publishing(down.url),
            "compile": publishing(rejecting.url),
        }
        with rig(folder, configurations) as started:
            yield started


SETTLED_SECONDS = 60
"""Time in which a panel that a failed scrape left empty has data again."""


@pytest.mark.parametrize("name", FILES)
def test_panels_have_data_for_the_expected_machines_only(machines: Rig, name: str) -> None:
    """Every panel in every view."""
    document = load(name)
    titles = {panel.title for panel in dashboards.panels(document)}
    for chosen in VIEWS.get(name, [{}]):
        view = " by ".join([name, *chosen.values()])
        exceptions = FILLED.get(view, {})
        assert exceptions.keys() <= titles
        expected = {
            title: exceptions.get(title, REPORTING) - INTERMITTENT.get(title, set())
            for title in titles
        }

        def filled(chosen: Mapping[str, str] = chosen) -> dict[str, set[str]]:
            found = {title: set[str]() for title in titles}
            for (title, _), jobs in jobs_with_data(machines, document, chosen).items():
                found[title] |= jobs - INTERMITTENT.get(title, set())
            return found

        assert eventually(filled, expected) == expected, view


@pytest.mark.parametrize("name", FILES)
def test_queries_have_data_for_a_machine(machines: Rig, name: str) -> None:
    """Every query, in one view at least."""
    document = load(name)

    def empty() -> set[tuple[str, str]]:
        views = [jobs_with_data(machines, document, each) for each in VIEWS.get(name, [{}])]
        return {
            (title, query)
            for title, query in views[0]
            if query not in UNANSWERED.get(title, set())
            and not any(view[title, query] for view in views)
        }

    assert eventually(empty, set()) == set()


def jobs_with_data(
    machines: Rig, document: Mapping[str, Any], chosen: Mapping[str, str]
) -> dict[tuple[str, str], set[str]]:
    """Return the jobs for which each query has data, by panel, and heading or letter."""
    filled: dict[tuple[str, str], set[str]] = defaultdict(set)
    for job in ALL:
        values = machines.initial_values(document, job=job, **chosen)
        for panel in dashboards.panels(document):
            for target in panel.targets:
                letter = target["refId"]
                jobs = filled[panel.title, panel.headings.get(letter, letter)]
                if machines.values(target, values):
                    jobs.add(job)
    return filled


def eventually(compute: Callable[[], T], expected: T) -> T:
    """Return what is computed once it is as expected, otherwise the last of several attempts."""
    until = time.monotonic() + SETTLED_SECONDS
    while (found := compute()) != expected and time.monotonic() < until:
        time.sleep(0.5)
    return found


@pytest.mark.parametrize("name", FILES)
def test_dashboards_have_data_when_opened(machines: Rig, name: str) -> None:
    """With the initial values of the variables, only panels that need another view are empty."""
    document = load(name)
    values = machines.initial_values(document)
    for variable in dashboards.variables(document):
        if variable["type"] == "query":
            options = dashboards.variable_options(variable, machines.prometheus, values)
            assert options, variable["name"]
    if name == "machine":  # opens with any one machine
        return
    view = " by ".join([name, *(values[key] for key in VIEWS.get(name, [{}])[0])])
    exceptions = FILLED.get(view, {})

    def wrong() -> set[str]:
        found = set()
        for panel in dashboards.panels(document):
            has_data = any(machines.values(target, values) for target in panel.targets)
            # A job none of whose targets has ever answered is not offered as a job of exporters.
            expected = exceptions.get(panel.title, REPORTING) - {DOWN}
            certain = expected - INTERMITTENT.get(panel.title, set())
            if has_data != bool(certain) and (certain or not expected):
                found.add(panel.title)
        return found

    assert eventually(wrong, set()) == set()


def test_variables_offer_existing_values(machines: Rig) -> None:
    document = load("machine")
    by_name = {each["name"]: each for each in dashboards.variables(document)}
    values = machines.initial_values(document)

    def options(name: str, **chosen: str) -> list[str]:
        return dashboards.variable_options(by_name[name], machines.prometheus, {**values, **chosen})

    assert set(options("job")) == ANSWERING
    assert options("cluster") == ["east"]
    assert options("job", cluster="east") == ["pods"]
    assert options("type") == ["inf2.24xlarge", "trn2.48xlarge"]
    assert len(options("machine")) == len(REPORTING)
    assert len(options("machine", cluster="east")) == 1
    by_name = {each["name"]: each for each in dashboards.variables(load("workload"))}
    assert options("workload", by="pod") == ["embedder", "llm"]
    assert options("workload", by="namespace") == ["ml"]
    assert options("workload", by="service") == []


VALUES: list[tuple[str, str, dict[str, str], str, float | None]] = [
    ("fleet", "Machines that are not well", {"job": BROKEN}, "==", 1),
    ("fleet", "Machines that are not well", {"job": "idle"}, "==", 0),
    ("fleet", "Firing alerts", {"job": "compile"}, ">", 0),
    ("fleet", IDLE_CORES, {"job": "allocated"}, "==", 12),
    ("fleet", IDLE_CORES, {"job": "allocated", "core_price": "2"}, "==", 12 * 2),
    ("fleet", IDLE_CORES, {"job": "training"}, "==", 0),
    ("fleet", "Idle cores by allocation", {"job": "allocated"}, "==", 12),
    ("fleet", "Idle cores by allocation", {"job": "idle"}, "==", 12),
    ("fleet", "CloudWatch per month", {"job": "mixed"}, "==", 4 * 0.3),
    ("fleet", "Machines", {}, "==", len(REPORTING)),
    ("fleet", "Machines", {"cluster": "east"}, "==", 1),
    ("machine", "Source", {"job": "idle"}, "==", 1),
    ("machine", "Utilization", {"job": "hang"}, "==", 1),
    ("machine", "Executions", {"job": "hang"}, "==", 0),
    ("machine", "Uncorrected ECC", {"job": "ecc-tally"}, ">", 0),
    ("machine", "Uncorrected ECC", {"job": "training"}, "==", 0),
    ("machine", "Corrected", {"job": "ecc-tally"}, ">", 0),
    ("machine", "Corrected", {"job": "training"}, "==", 0),
    ("machine", "Failed executions", {"job": "execution-errors"}, ">", 0),
    ("machine", "Failed executions", {"job": "inference"}, "==", 0),
    ("machine", "CPU of the host", {"job": "compile"}, ">", 0.5),
    ("machine", "No execution for", {"job": "hang"}, ">", 10),
    ("machine", "No execution for", {"job": "inference"}, "==", 0),
    ("machine", "Missing devices", {"job": "training"}, "==", 0),
    ("machine", "Power of each device", {"job": WITH_DRIVER}, ">", 0.2),
    ("machine", "Hardware faults", {"job": WITH_DRIVER}, ">", 0),
    ("machine", "Cores with hardware faults", {"job": WITH_DRIVER}, ">", 0),
    ("fleet", "Unhealthy devices", {"job": WITH_DRIVER}, "==", 0),
    ("workload", JOBS_PANELS[0], {"job": WITH_JOB_ID, "by": "job_id", "workload": "4711"}, ">", 1),
    ("workload", "Throughput", {"job": "hang"}, "==", 0),
    ("workload", "Utilization", {"job": "hang"}, "==", 1),
    ("workload", "Cores", {"job": "pods", "by": "pod", "workload": "llm"}, "==", 6),
    ("workload", "Cores", {"job": "pods", "by": "pod", "workload": "embedder"}, "==", 6),
    ("workload", "Allocated but idle", {"job": "allocated", "by": "pod", "workload": "llm"},
     "==", 6),
    ("exporter", "Over budget", {"job": "mixed"}, ">", 0),
    ("exporter", "Over budget", {"job": "inference"}, "==", 0),
    ("exporter", "Sinks down", {"job": "training"}, "==", 1),
    ("exporter", "Sinks down", {"job": "inference"}, "==", 0),
    ("exporter", "Spool", {"job": "training"}, ">", 0),
]  # fmt: skip
"""Dashboard, panel, variables, and the largest value of the panel."""

PROBLEMS: Mapping[str, str] = {
    "lost-device": "device_missing",
    WITH_DRIVER: "device_unhealthy",
    "ecc-tally": "uncorrected_ecc",
    DOWN: "exporter_down",
    BROKEN: "source_down",
    "crash": "crash_loop",
    "execution-errors": "failing",
    "training": "sink_failing",
    "compile": "sink_failing",
    "hang": "stalled",
}
"""The worst problem of each machine that is not well. After a quarter of an hour, the hanging one
is `hung`."""


def test_fleet_names_the_machines_that_are_not_well(machines: Rig) -> None:
    """The table's first query has the rank of every machine's worst problem, 0 for all others."""
    (query, *_) = dashboards.find_panel(load("fleet"), "Machines, worst first").targets
    variables = machines.initial_values(load("fleet"))
    expression = dashboards.resolve(query["expr"], variables)
    expected = {job: BY_REASON[PROBLEMS[job]].rank if job in PROBLEMS else 0 for job in ALL}
    # The dashboard offers jobs in which an exporter has answered.
    del expected[DOWN]
    later = expected | {"hang": BY_REASON["hung"].rank}

    def found() -> bool:
        ranks = {
            each["metric"]["job"]: float(each["value"][1])
            for each in machines.prometheus.query(expression)
        }
        return ranks in (expected, later)

    wait_for(found, EVENT_SECONDS, every=0.5)


def test_exporter_names_the_exporters_that_do_not_report(machines: Rig) -> None:
    """The first query has the state of every exporter. One that crashes reports at times."""
    document = load("exporter")
    panel = dashboards.find_panel(document, "Exporters, worst first")
    (texts,) = (
        each["value"][0]["options"]
        for override in panel.document["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "mappings"
    )
    variables = machines.initial_values(document, job=".*")
    expression = dashboards.resolve(panel.targets[0]["expr"], variables)
    expected = {
        **dict.fromkeys(REPORTING - {"crash", "garbage"}, "reports"),
        BROKEN: "no reports: neuron-monitor does not exist",
        DOWN: "exporter down: it does not answer",
    }

    def found() -> bool:
        states = {
            each["metric"]["job"]: texts[each["value"][1]]["text"]
            for each in machines.prometheus.query(expression)
        }
        return states.keys() == ALL and expected.items() <= states.items()

    wait_for(found, EVENT_SECONDS, every=0.5)


EVENT_SECONDS = 240
"""The simulated devices have an ECC error of each kind at least every 80 s."""


@pytest.mark.parametrize(("name", "title", "chosen", "comparison", "value"), VALUES)
def test_panel_value(
    machines: Rig, name: str, title: str, chosen: dict[str, str], comparison: str, value: float
) -> None:
    document = load(name)
    panel = dashboards.find_panel(document, title)
    variables = machines.initial_values(document, **chosen)

    def largest() -> float:
        values = (machines.values(target, variables) for target in panel.targets)
        return max(chain.from_iterable(values), default=math.nan)

    if comparison == "==":
        # The first seconds of a machine leave the time range of the dashboard.
        wait_for(lambda: largest() == pytest.approx(value), EVENT_SECONDS, every=0.5)
    else:
        # Errors are rare events: wait until one is within the time range of the dashboard.
        wait_for(lambda: largest() > value, EVENT_SECONDS, every=0.5)


# Public dashboards on the names of AWS's script: `neuron-monitor-grafana` of aws-neuron-sdk, the
# `neuron-monitor` dashboard of aws-observability-accelerator, and the metrics of Datadog's
# `aws_neuron` integration. Each row is a query in our own words for a metric with the labels that
# they select on, and the range of values for the simulated machine.
PUBLIC: list[tuple[str, str, float, float]] = [
    ("hang", "avg(neuroncore_utilization_ratio{M})", 1, 1),
    ("training", "avg by (instance_id) (neuroncore_utilization_ratio{M})", 0.85, 1),
    ("idle", "max(neuroncore_utilization_ratio{M})", 0, 0),
    ("inference", 'sum(rate(execution_status_total{M, status_type="completed"}[5s]))', 100, 1e5),
    ("hang", 'sum(rate(execution_status_total{M, status_type="completed"}[5s]))', 0, 0),
    ("execution-errors", "sum(rate(execution_errors_total{M}[5s]))", 1, 1e4),
    ("training", 'max(execution_latency_seconds{M, percentile="p50"})', 0.1, 1),
    ("training", 'sum(neuron_runtime_memory_used_bytes{M, memory_location="neuron_device"})',
     1e9, 192 * 2**30),
    ("training", 'sum(neuron_runtime_vcpu_usage_ratio{M, usage_type="user"})', 0.001, 1),
    ("compile", "sum(system_vcpu_usage_ratio{M})", 0.5, 1),
    ("compile", "system_memory_used_bytes{M} / system_memory_total_bytes{M}", 0.5, 0.7),
    ("ecc-tally", "sum(hardware_ecc_events_total{M})", 1, 1e6),
    ("idle", "count(instance_info{M})", 1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("job", "query", "minimum", "maximum"), PUBLIC)
def test_queries_of_public_dashboards(
    machines: Rig, job: str, query: str, minimum: float, maximum: float
) -> None:
    selector = query.replace("{M", f'{{job="{job}"')

    def found() -> list[float]:
        value = machines.prometheus.value(selector)
        return [] if value is None or value < minimum else [value]

    (value,) = wait_for(found, EVENT_SECONDS, every=0.5)
    assert value <= maximum


def load(name: str) -> dict[str, Any]:
    """Return a dashboard by file name."""
    return dashboards.load(dashboards.FOLDER / f"{name}.json")
