"""Simulated machines in various states, each a job of its own, and a Prometheus."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import dashboards
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.kubelet import CORE, PodResource, kubelet_server
from tests.support.servers import Prometheus, prometheus_server
from tests.support.waiting import wait_for

SCRAPE = 1.0
"""Scrape interval in seconds."""

TIME_RANGE = 40.0
"""Time range of the dashboards in seconds."""

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
    "garbage": ("--scenario", "inference", "--faults", "garbage,error-groups"),
    "crash": ("--scenario", "inference", "--faults", "crash@7"),
}
"""Simulator flags of each job; every job is one machine."""

WITH_PODS = ("pods", "allocated")
"""Jobs with a kubelet: one with busy pods, and one with idle pods."""

REPORTING = frozenset(SIMULATED)

BROKEN = "broken"
"""Job of an exporter whose neuron-monitor does not exist."""

DOWN = "down"
"""Job of a target that does not listen."""

CLUSTER = "pods"
"""The only job whose target has the label `cluster`."""


class Rig(NamedTuple):
    """Prometheus, and the exporters that it scrapes, by job."""

    prometheus: Prometheus
    exporters: Mapping[str, RunningExporter]

    def initial_values(self, document: Mapping[str, Any], **chosen: str) -> dict[str, str]:
        """Return the variables' values when a dashboard is opened."""
        builtin = dashboards.builtin_values(SCRAPE, TIME_RANGE)
        return dashboards.initial_values(document, self.prometheus, {**builtin, **chosen})

    def values(self, target: Mapping[str, Any], variables: dashboards.Values) -> list[float]:
        """Return all values that a query returns."""
        expression = dashboards.resolve(target["expr"], variables)
        if target["instant"]:
            return [float(each["value"][1]) for each in self.prometheus.query(expression)]
        found = self.prometheus.over(expression, TIME_RANGE, 1)
        return [float(value) for each in found for _, value in each["values"]]


@contextmanager
def rig(folder: Path, configurations: Mapping[str, Mapping[str, Any]]) -> Iterator[Rig]:
    """Start all machines and Prometheus, and wait for enough data.

    Args:
        configurations: additional configuration of exporters, by job.
    """
    with ExitStack() as stack:
        kubelet = stack.enter_context(
            kubelet_server(
                folder,
                PodResource("llm", CORE, range(6)),
                PodResource("embedder", CORE, range(6, 12)),
            )
        )
        exporters = {}
        for job, source in _sources().items():
            own = folder / job
            own.mkdir()
            exporters[job] = stack.enter_context(
                running_exporter(
                    own,
                    {
                        "source": source,
                        # With owners, runtimes are not exported until their owners are known.
                        "identity": {"kubernetes": job in WITH_PODS, "ecs": False},
                        **configurations.get(job, {}),
                    },
                    environment={
                        "AWS_ACCESS_KEY_ID": "test",
                        "AWS_SECRET_ACCESS_KEY": "test",
                        "NEURON_EXPORTER_KUBELET_SOCKET": str(kubelet.socket),
                    },
                )
            )
            exporters[job].wait_for_event("started", 60)
        closed = stack.enter_context(socket.socket())  # bound but not listening
        closed.bind(("127.0.0.1", 0))
        targets = {job: each.url.removeprefix("http://") for job, each in exporters.items()}
        targets[DOWN] = f"127.0.0.1:{closed.getsockname()[1]}"
        server = stack.enter_context(
            prometheus_server(
                folder,
                *targets.values(),
                interval=f"{SCRAPE * 1000:.0f}ms",
                honor_labels=True,
                relabel_configs=[
                    *(_labelled("job", job, address) for job, address in targets.items()),
                    _labelled("cluster", "east", targets[CLUSTER]),
                ],
            )
        )
        wait_for(lambda: all(_has_enough_data(server, job) for job in REPORTING), every=0.5)
        yield Rig(server, exporters)


def _sources() -> dict[str, Any]:
    sources: dict[str, Any] = {
        job: simulated("--instance-type", "inf2.24xlarge", "--seed", str(number), *flags)
        for number, (job, flags) in enumerate(SIMULATED.items())
    }
    sources[BROKEN] = {"command": ["/nonexistent/neuron-monitor"]}
    return sources


def _labelled(label: str, value: str, address: str) -> dict[str, Any]:
    return {
        "source_labels": ["__address__"],
        "regex": address.replace(".", r"\."),
        "target_label": label,
        "replacement": value,
    }


def _has_enough_data(server: Prometheus, job: str) -> bool:
    """Return whether a machine has reported for a while, with its pods if it has any."""
    reports = server.value(f'neuron_exporter_reports_total{{job="{job}"}}') or 0
    metric = "execution_status_total" if job == "pods" else "neuroncore_allocated"
    with_pod = f'max(count_over_time({metric}{{job="{job}", pod!=""}}[1h]))'
    has_pods = job not in WITH_PODS or (server.value(with_pod) or 0) >= MIN_REPORTS / 2
    return reports >= MIN_REPORTS and has_pods
