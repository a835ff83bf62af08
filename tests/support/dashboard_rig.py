"""Simulated machines in various states, each a job of its own, and a Prometheus."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from grafana.rules_src.parameters import JOBS
from tests.support import dashboards
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.grafana_intervals import builtin_values, interval
from tests.support.kubelet import CORE, PodResource, kubelet_server
from tests.support.promtool import RULES
from tests.support.servers import Prometheus, prometheus_server
from tests.support.waiting import wait_for

SCRAPE = 1.0
"""Scrape interval in seconds."""

TIME_RANGE = 40.0
"""Time range of the dashboards in seconds."""

POINTS = 800
"""Number of points that a panel can draw."""

MIN_REPORTS = 12
"""Reports of each machine before its dashboards are evaluated."""

SIMULATED: Mapping[str, tuple[str, ...]] = {
    "idle": ("--scenario", "idle"),
    "inference": ("--scenario", "inference"),
    "training": ("--scenario", "training"),
    "compile": ("--scenario", "compile"),
    "mixed": ("--scenario", "mixed"),
    "pods": ("--scenario", "mixed"),
    "allocated": ("--scenario", "idle"),
    "hang": ("--scenario", "inference", "--faults", "hang"),
    "execution-errors": ("--scenario", "inference", "--faults", "execution-errors"),
    "ecc-tally": ("--scenario", "training", "--faults", "ecc-tally"),
    "lost-device": ("--scenario", "training", "--faults", "lost-device@8"),
    "garbage": ("--scenario", "inference", "--faults", "garbage,error-groups"),
    "crash": ("--scenario", "inference", "--faults", "crash@7"),
    "driver": (
        *("--instance-type", "trn2.48xlarge", "--runtimes", "4", "--scenario", "training"),
        *("--faults", "hardware-errors,unhealthy-device"),
    ),
}
"""Simulator flags of each job; every job is one machine."""

PODS = (PodResource("llm", CORE, range(6)), PodResource("embedder", CORE, range(6, 12)))

WITH_PODS = ("pods", "allocated")
"""Jobs with a kubelet: one with busy pods, and one with idle pods."""

WITH_DRIVER = "driver"
"""The only job whose exporter reads files of a driver."""

WITH_JOB_ID = "training"
"""The only job whose machine runs a job of a scheduler. Its target has the label, in place of the
processes."""

REPORTING = frozenset(SIMULATED)

BROKEN = "broken"
"""Job of an exporter whose neuron-monitor does not exist."""

DOWN = "down"
"""Job of a target that does not listen."""

CLUSTER = "pods"
"""The only job whose target has the label `cluster`."""


class Machine(NamedTuple):
    """An exporter as a target of Prometheus."""

    labels: Mapping[str, str]
    """Labels of the target, such as its job."""
    source: Mapping[str, Any]
    configuration: Mapping[str, Any] = {}
    pods: Sequence[PodResource] = ()
    """What the kubelet reports; without pods, the exporter does not ask one."""


class Rig(NamedTuple):
    """Prometheus, and the exporters that it scrapes, by the name of their machine."""

    prometheus: Prometheus
    exporters: Mapping[str, RunningExporter]

    def initial_values(self, document: Mapping[str, Any], **chosen: str) -> dict[str, str]:
        """Return the variables' values when a dashboard is opened."""
        builtin = builtin_values(interval(TIME_RANGE, POINTS, SCRAPE), TIME_RANGE)
        return dashboards.initial_values(document, self.prometheus, {**builtin, **chosen})

    def values(self, target: Mapping[str, Any], variables: dashboards.Values) -> list[float]:
        """Return all values that a query returns; fail if Prometheus refuses it."""
        found = interval(TIME_RANGE, POINTS, SCRAPE, target.get("interval", ""))
        filled = {**variables, **builtin_values(found, TIME_RANGE)}
        expression = dashboards.resolve(target["expr"], filled)
        if target["instant"]:
            return [float(each["value"][1]) for each in self.prometheus.query(expression)]
        whole_steps = TIME_RANGE // found.step * found.step
        series = self.prometheus.over(expression, whole_steps, found.step)
        return [float(value) for each in series for _, value in each["values"]]


@contextmanager
def rig(folder: Path, configurations: Mapping[str, Mapping[str, Any]]) -> Iterator[Rig]:
    """Start all machines, each in a job of its own, and wait for enough data.

    Args:
        configurations: additional configuration of exporters, by job.
    """
    files = folder / "sysfs"
    files.mkdir()  # the exporter looks for a folder that is missing once a minute only
    driver = {
        "hardware": {"sysfs": str(files)},
        "prometheus": {"include": ["neurondevice_info"]},
    }
    labels = {CLUSTER: {"cluster": "east"}, WITH_JOB_ID: {"job_id": "4711"}}
    machines = {
        job: Machine(
            {"job": job, **labels.get(job, {})},
            source,
            driver if job == WITH_DRIVER else configurations.get(job, {}),
            PODS if job in WITH_PODS else (),
        )
        for job, source in _sources(files).items()
    }
    with running_machines(folder, machines, {"job": DOWN}, SCRAPE) as started:
        wait_for(
            lambda: all(_has_enough_data(started.prometheus, job) for job in REPORTING), every=0.5
        )
        yield started


@contextmanager
def running_machines(
    folder: Path, machines: Mapping[str, Machine], down: Mapping[str, str], scrape_interval: float
) -> Iterator[Rig]:
    """Start these machines, and a Prometheus with the rules that scrapes them.

    Args:
        down: labels of one more target, which does not listen.
        scrape_interval: interval of scrapes and rules in seconds.
    """
    with ExitStack() as stack:
        exporters = {}
        for name, machine in machines.items():
            own = folder / name
            own.mkdir()
            kubelet = stack.enter_context(kubelet_server(own, *machine.pods))
            # With owners, runtimes are not exported until their owners are known.
            identity = {"imds": False, "kubernetes": bool(machine.pods), "ecs": False}
            exporters[name] = stack.enter_context(
                running_exporter(
                    own,
                    {"source": machine.source, "identity": identity, **machine.configuration},
                    environment={
                        "AWS_ACCESS_KEY_ID": "test",
                        "AWS_SECRET_ACCESS_KEY": "test",
                        "NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket),
                    },
                )
            )
            exporters[name].wait_for_event("started")
        targets = [
            _target(exporter.url.removeprefix("http://"), machines[name].labels)
            for name, exporter in exporters.items()
        ]
        closed = stack.enter_context(socket.socket())  # bound but not listening
        closed.bind(("127.0.0.1", 0))
        targets.append(_target(f"127.0.0.1:{closed.getsockname()[1]}", down))
        server = stack.enter_context(
            prometheus_server(
                folder,
                *exporters,
                DOWN,
                interval=f"{scrape_interval * 1000:.0f}ms",
                rule_files=_rules(folder),
                honor_labels=True,
                static_configs=targets,
            )
        )
        yield Rig(server, exporters)


def _rules(folder: Path) -> list[str]:
    """Write the rules for jobs of any name, because the machines' jobs are named after them."""
    for path in map(Path, RULES):
        text = path.read_text().replace(f'job=~"{JOBS}"', 'job=~".+"')
        (folder / path.name).write_text(text)
    return [str(folder / Path(path).name) for path in RULES]


def _target(address: str, labels: Mapping[str, str]) -> dict[str, Any]:
    return {"targets": [address], "labels": dict(labels)}


def _sources(files: Path) -> dict[str, Any]:
    """Return the source of each job; `files` is the folder of a simulated driver."""
    sources: dict[str, Any] = {
        job: simulated(
            *("--instance-type", "inf2.24xlarge", "--seed", str(number), *flags),
            *(("--sysfs", str(files)) if job == WITH_DRIVER else ()),
        )
        for number, (job, flags) in enumerate(SIMULATED.items())
    }
    sources[BROKEN] = {"command": ["/nonexistent/neuron-monitor"]}
    return sources


def _has_enough_data(server: Prometheus, job: str) -> bool:
    """Return whether a machine has reported for a while, with its pods if it has any."""
    reports = server.value(f'neuron_exporter_reports_total{{job="{job}"}}') or 0
    metric = "execution_status_total" if job == "pods" else "neuroncore_allocated"
    with_pod = f'max(count_over_time({metric}{{job="{job}", pod!=""}}[1h]))'
    has_pods = job not in WITH_PODS or (server.value(with_pod) or 0) >= MIN_REPORTS / 2
    return reports >= MIN_REPORTS and has_pods
