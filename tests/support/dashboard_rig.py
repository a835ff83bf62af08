"""Machines where all sorts of things go on, and a Prometheus that scrapes them: each is a job."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import dashboards
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.kubelet import CORE, Given, kubelet
from tests.support.servers import Prometheus, prometheus_server
from tests.support.waiting import wait_for

SCRAPE = 1.0
"""Seconds between two scrapes."""

SHOWN = 40.0
"""Seconds that a dashboard shows."""

ENOUGH = 12
"""Reports that a machine has given before its dashboards are looked at."""

SIMULATED: Mapping[str, tuple[str, ...]] = {
    "idle": ("--scenario", "idle"),
    "inference": ("--scenario", "inference"),
    "training": ("--scenario", "training"),
    "compile": ("--scenario", "compile"),
    "mixed": ("--scenario", "mixed"),
    "pods": ("--scenario", "mixed"),
    "given": ("--scenario", "idle"),
    "hang": ("--scenario", "inference", "--faults", "hang"),
    "execution-errors": ("--scenario", "inference", "--faults", "execution-errors"),
    "ecc-tally": ("--scenario", "training", "--faults", "ecc-tally"),
    "garbage": ("--scenario", "inference", "--faults", "garbage,error-groups"),
    "crash": ("--scenario", "inference", "--faults", "crash@7"),
}
"""What goes on on each machine."""

WITH_PODS = ("pods", "given")
"""Machines with a kubelet: one whose pods work, and one whose pods do nothing."""

LIVING = frozenset(SIMULATED)

BROKEN = "broken"
"""The job of an exporter that has no program to read from."""

DEAD = "dead"
"""The job of a target where nothing listens."""

CLUSTER = "pods"
"""The one job whose targets have a label `cluster`."""


class Rig(NamedTuple):
    """The Prometheus, and the exporters by their job."""

    prometheus: Prometheus
    exporters: Mapping[str, RunningExporter]


@contextmanager
def rig(folder: Path, configurations: Mapping[str, Mapping[str, Any]]) -> Iterator[Rig]:
    """All machines, scraped for a while; a job's configuration is added to that of its exporter."""
    with ExitStack() as stack:
        given = [Given("llm", CORE, range(6)), Given("embedder", CORE, range(6, 12))]
        played = stack.enter_context(kubelet(folder, *given))
        exporters = {}
        for job, source in _sources().items():
            own = folder / job
            own.mkdir()
            exporters[job] = stack.enter_context(
                running_exporter(
                    own,
                    {
                        "source": source,
                        # Who asks for owners keeps runtimes back until it knows them.
                        "identity": {"kubernetes": job in WITH_PODS, "ecs": False},
                        **configurations.get(job, {}),
                    },
                    environment={
                        "AWS_ACCESS_KEY_ID": "test",
                        "AWS_SECRET_ACCESS_KEY": "test",
                        "NEURON_EXPORTER_KUBELET_SOCKET": str(played.socket),
                    },
                )
            )
            exporters[job].wait_for_event("started", 60)
        taken = stack.enter_context(socket.socket())  # bound, and nobody accepts
        taken.bind(("127.0.0.1", 0))
        targets = {job: each.url.removeprefix("http://") for job, each in exporters.items()}
        targets[DEAD] = f"127.0.0.1:{taken.getsockname()[1]}"
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
        wait_for(lambda: all(_has_enough(server, job) for job in LIVING), 60, every=0.5)
        yield Rig(server, exporters)


def opened(rig: Rig, document: Mapping[str, Any], **chosen: str) -> dict[str, str]:
    """The variables of a dashboard that somebody opens."""
    builtin = dashboards.builtin(SCRAPE, SHOWN)
    return dashboards.asked(document, rig.prometheus, {**builtin, **chosen})


def answer(rig: Rig, target: Mapping[str, Any], values: dashboards.Values) -> list[float]:
    """All values that a query gives."""
    expression = dashboards.resolve(target["expr"], values)
    if target["instant"]:
        return [float(each["value"][1]) for each in rig.prometheus.query(expression)]
    found = rig.prometheus.over(expression, SHOWN, 1)
    return [float(value) for each in found for _, value in each["values"]]


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


def _has_enough(server: Prometheus, job: str) -> bool:
    """Whether a machine has reported for a while, and its pods are known for as long."""
    reports = server.value(f'neuron_exporter_reports_total{{job="{job}"}}') or 0
    metric = "execution_status_total" if job == "pods" else "neuroncore_allocated"
    seen = f'max(count_over_time({metric}{{job="{job}", pod!=""}}[1h]))'
    known = job not in WITH_PODS or (server.value(seen) or 0) >= ENOUGH / 2
    return reports >= ENOUGH and known
