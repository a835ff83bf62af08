"""Every panel of the dashboards is asked of a real Prometheus, whatever goes on on the machines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.support import dashboards
from tests.support.dashboard_rig import BROKEN, DEAD, LIVING, Rig, answer, opened, rig
from tests.support.endpoint import refuse
from tests.support.strict_front import strict_front

pytestmark = pytest.mark.usefixtures("needs_prometheus")

EVERYWHERE = LIVING | {BROKEN, DEAD}
ANSWERING = LIVING | {BROKEN}
BUSY = LIVING - {"idle", "compile", "given"}
SOME_END = BUSY - {"hang"}
WITH_PODS = {"pods", "given"}
PUBLISHING = {"inference", "training", "mixed", "compile"}

FILLED: Mapping[str, Mapping[str, frozenset[str] | set[str]]] = {
    "fleet": {
        "Exporters down": EVERYWHERE,
        "Sources down": EVERYWHERE,
        "Given but idle": WITH_PODS,
        "Given but idle, an hour": WITH_PODS,
        "CloudWatch, a month": ANSWERING,
        "Share that failed": SOME_END,
        "Slowest machines": SOME_END,
        "Sources that give nothing": {BROKEN},
        "Exporters that do not answer": {DEAD},
    },
    "machine": {
        "Effective FLOPS": BUSY,
        "Who holds cores": BUSY,
        "Latency": SOME_END,
        "Latency on the device": SOME_END,
        # The group carries an error there, and what is in it is no reading.
        "CPU of processes": BUSY - {"garbage"},
        "Host memory of processes": BUSY,
    },
    "workload by runtime_tag": {
        **dict.fromkeys(
            ("Cores", "Utilization", "Throughput", "Their cores", "Utilization by workload",
             "Cores by workload", "Throughput by workload", "Failed executions", "Errors",
             "Memory"),
            BUSY,
        ),
        **dict.fromkeys(
            ("Share that failed", "p99", "Latency", "Latency on the device"), SOME_END
        ),
        "CPU": BUSY - {"garbage"},
        "Given but idle": set(),
        "Given and not used now": set(),
    },
    "workload by pod": {
        **dict.fromkeys(
            ("Cores", "Utilization", "Throughput", "Their cores", "Utilization by workload",
             "Cores by workload", "Throughput by workload", "Failed executions", "Errors",
             "Memory", "Share that failed", "p99", "Latency", "Latency on the device", "CPU"),
            frozenset({"pods"}),
        ),
        "Given but idle": WITH_PODS,
        "Given and not used now": {"given"},
    },
    "exporter": {
        **dict.fromkeys(
            ("Do not answer", "Do not read", "Do not deliver", "Refused configurations"),
            EVERYWHERE,
        ),
        **dict.fromkeys(
            ("Over budget", "States of sources", "Reports", "Left out", "Spool",
             "CloudWatch metrics", "Series of Prometheus", "CPU", "Memory", "Versions",
             "Time for a report, for a scrape"),
            ANSWERING,
        ),
        "Restarts": {"crash", BROKEN},
        "Unusable": {"garbage"},
        "Groups in error": {"garbage"},
        "Requests": PUBLISHING,
        "Requests that wait": PUBLISHING,
        "Since the last delivery": {"inference", "mixed"},
        "Errors of sinks": {"training", "compile"},
        "Oldest in the spool": {"training"},
    },
}  # fmt: skip
"""Where a panel has data that does not have it on all machines that live, and only there."""

COME_AND_GO = {"Sources that give nothing": {"crash"}}
"""What is asked about now, and is so at times."""

VIEWS: Mapping[str, list[dict[str, str]]] = {
    "workload": [{"by": "runtime_tag"}, {"by": "pod"}],
}
"""What is chosen by hand in a dashboard that can be seen in several ways."""

FILES = [path.stem for path in dashboards.files("prometheus")]


def publishing(url: str, **more: Any) -> dict[str, Any]:
    """A configuration that sends to CloudWatch every two seconds."""
    settings = {"region": "us-east-1", "endpoint_url": url, "flush_interval": "2s", **more}
    return {"cloudwatch": {"enabled": True, **settings}}


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """All machines, and a Prometheus that has scraped them for a while. CloudWatch takes what one
    sends, and of one less than it has; it is down for one, and refuses what another sends."""
    folder = tmp_path_factory.mktemp("dashboards")
    with strict_front() as front, strict_front() as down, strict_front() as refusing:
        down.down()
        refusing.answer = refuse(400, "InvalidParameterValue")
        configurations = {
            "inference": publishing(front.url),
            "mixed": publishing(front.url, budget={"max_metrics": 4}),
            "training": publishing(down.url),
            "compile": publishing(refusing.url),
        }
        with rig(folder, configurations) as started:
            yield started


@pytest.mark.parametrize("name", FILES)
def test_every_panel_has_data_where_it_should_and_nowhere_else(machines: Rig, name: str) -> None:
    """On each machine in turn, each panel shows what there is, and nothing where there is nothing;
    no query stays empty on all machines."""
    document = dashboards.load(dashboards.FOLDER / f"{name}.json")
    titles = [panel.title for panel in dashboards.panels(document)]
    answered: dict[str, bool] = {}
    for chosen in VIEWS.get(name, [{}]):
        filled: dict[str, set[str]] = {title: set() for title in titles}
        for job in EVERYWHERE:
            values = opened(machines, document, job=job, **chosen)
            for panel in dashboards.panels(document):
                for target in panel.targets:
                    has_data = bool(answer(machines, target, values))
                    key = f"{panel.title}, {target['refId']}"
                    answered[key] = answered.get(key, False) or has_data
                    if has_data:
                        filled[panel.title].add(job)
        view = " by ".join([name, *chosen.values()])
        wanted = FILLED.get(view, {})
        assert wanted.keys() <= set(titles)
        expected = {title: set(wanted.get(title, LIVING)) for title in titles}
        for title, jobs in COME_AND_GO.items():
            if title in filled:
                filled[title] -= jobs
        assert filled == expected, view
    assert [key for key, seen in answered.items() if not seen] == []


@pytest.mark.parametrize("name", FILES)
def test_a_dashboard_that_was_just_opened_shows_everybody(machines: Rig, name: str) -> None:
    """Each variable offers something, and with what is chosen at first no panel is empty that can
    be seen that way."""
    document = dashboards.load(dashboards.FOLDER / f"{name}.json")
    values = opened(machines, document)
    for variable in dashboards.variables(document):
        if variable["type"] == "query":
            assert dashboards.offered(variable, machines.prometheus, values), variable["name"]
    if name == "machine":  # the first of them, whichever that is
        return
    first = " by ".join([name, *(values[key] for key in VIEWS.get(name, [{}])[0])])
    wanted = FILLED.get(first, {})
    for panel in dashboards.panels(document):
        has_data = any(answer(machines, target, values) for target in panel.targets)
        # Of a job none of whose targets ever answered nobody knows that it is the exporter's.
        should = wanted.get(panel.title, LIVING) - {DEAD}
        assert has_data == bool(should), panel.title


def test_variables_offer_what_there_is(machines: Rig) -> None:
    """Jobs are those of the exporter, a cluster is there where somebody adds the label, and the
    machines of a cluster are its own."""
    document = dashboards.load(dashboards.FOLDER / "machine.json")
    by_name = {each["name"]: each for each in dashboards.variables(document)}
    values = opened(machines, document)

    def offers(name: str, **chosen: str) -> list[str]:
        return dashboards.offered(by_name[name], machines.prometheus, {**values, **chosen})

    assert set(offers("job")) == ANSWERING
    assert offers("cluster") == ["east"]
    assert offers("job", cluster="east") == ["pods"]
    assert offers("type") == ["inf2.24xlarge"]
    assert len(offers("machine")) == len(LIVING)
    assert len(offers("machine", cluster="east")) == 1
    workload = dashboards.load(dashboards.FOLDER / "workload.json")
    by_name = {each["name"]: each for each in dashboards.variables(workload)}
    assert offers("workload", by="pod") == ["embedder", "llm"]
    assert offers("workload", by="namespace") == ["ml"]
    assert offers("workload", by="service") == []


VALUES: list[tuple[str, str, dict[str, str], str, float | None]] = [
    ("fleet", "Exporters down", {"job": DEAD}, "==", 1),
    ("fleet", "Exporters down", {"job": "idle"}, "==", 0),
    ("fleet", "Sources down", {"job": BROKEN}, "==", 1),
    ("fleet", "Given but idle", {"job": "given"}, "==", 12),
    ("fleet", "Given but idle", {"job": "pods"}, "==", 0),
    ("fleet", "Given but idle, an hour", {"job": "given"}, "==", 12 * 1),
    ("fleet", "CloudWatch, a month", {"job": "mixed"}, "==", 4 * 0.3),
    ("fleet", "Machines", {}, "==", len(LIVING)),
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
    ("workload", "Throughput", {"job": "hang"}, "==", 0),
    ("workload", "Utilization", {"job": "hang"}, "==", 1),
    ("workload", "Cores", {"job": "pods", "by": "pod", "workload": "llm"}, "==", 6),
    ("workload", "Cores", {"job": "pods", "by": "pod", "workload": "embedder"}, "==", 6),
    ("workload", "Given but idle", {"job": "given", "by": "pod", "workload": "llm"}, "==", 6),
    ("exporter", "Over budget", {"job": "mixed"}, ">", 0),
    ("exporter", "Over budget", {"job": "inference"}, "==", 0),
    ("exporter", "Do not deliver", {"job": "training"}, "==", 1),
    ("exporter", "Do not deliver", {"job": "inference"}, "==", 0),
    ("exporter", "Spool", {"job": "training"}, ">", 0),
]
"""What the largest value of a panel is, for what is chosen."""


@pytest.mark.parametrize(("name", "title", "chosen", "compared", "value"), VALUES)
def test_a_panel_tells_the_truth(
    machines: Rig, name: str, title: str, chosen: dict[str, str], compared: str, value: float
) -> None:
    """What is known of a machine is what the panel says of it."""
    document = dashboards.load(dashboards.FOLDER / f"{name}.json")
    (panel,) = (each for each in dashboards.panels(document) if each.title == title)
    values = opened(machines, document, **chosen)
    found = max(max(answer(machines, target, values)) for target in panel.targets)
    assert found == pytest.approx(value) if compared == "==" else found > value


# Public dashboards on the names of AWS's script: `neuron-monitor-grafana` of aws-neuron-sdk, the
# `neuron-monitor` dashboard of aws-observability-accelerator, and the metrics of Datadog's
# `aws_neuron` integration. Each row asks for a metric by the labels that they select on, in our own
# words; beside it is what the simulated machine is known to do.
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


@pytest.mark.parametrize(("job", "query", "least", "most"), PUBLIC)
def test_queries_of_public_dashboards_give_right_values(
    machines: Rig, job: str, query: str, least: float, most: float
) -> None:
    """Who has a dashboard on AWS's names keeps it."""
    found = machines.prometheus.value(query.replace("{M", f'{{job="{job}"'))
    assert found is not None
    assert least <= found <= most
