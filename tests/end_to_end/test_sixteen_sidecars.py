"""Sixteen tasks on one machine, each with one device and the sidecar that `task-definition`
writes."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.samples import Sample

from tests.support.exporter import RunningExporter, running_exporter
from tests.support.fleet import CREDENTIALS
from tests.support.metadata import TASK, ecs, respond
from tests.support.mounts import own_dev
from tests.support.publishing import write_simulated
from tests.support.simulated import Report, busy, executions
from tests.support.task_definitions import environment_of, exporter_of, make_definition
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint
from tests.support.waiting import wait_for

TYPE = "inf1.24xlarge"
DEVICES, CORES = 16, 64
REPORTS = 12
LOAD = ("--runtimes", "16", "--faults", "execution-errors")
MACHINE = ("--instance-type", TYPE, *LOAD)
SERVICE = {"ClusterName": "training", "ServiceName": "resnet-inference"}


class Sent(NamedTuple):
    """What the machine reported, what the exporters sent, and each exporter's URL and core
    count."""

    reports: list[Report]
    front: ValidatingEndpoint
    ports: list[int]
    shown: list[int]


def expected_totals(many: list[Report]) -> dict[str, float]:
    """Return what happened on the machine."""
    tallies: Counter[str] = Counter()
    for report in many:
        for execution in executions(report):
            tallies.update(execution["execution_summary"])
    completed = tallies.pop("completed")
    shares = [min(share, 100) for report in many for share in busy(report).values()]
    return {
        "completed": completed,
        "errors": tallies.total(),
        "utilization": sum(shares) / (len(many) * CORES),
        "in use": sum(share > 0 for share in shares),
    }


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sent]:
    """Run all sidecars at once on the same reports of the machine until each is stopped."""
    folder = tmp_path_factory.mktemp("machine")
    stream = write_simulated(folder / "stream", REPORTS, *MACHINE).read_bytes()
    with ExitStack() as stack:
        front = stack.enter_context(validating_endpoint())
        started = [_start(stack, folder, index, front.url) for index in range(DEVICES)]
        shown = []
        for each in started:
            assert each.process.stdin is not None
            each.process.stdin.write(stream)
            each.process.stdin.flush()
            # In one scrape, and before the next sidecar gets its reports: cores end after 15 s.
            shown.append(len(wait_for(lambda each=each: _cores_after_all_reports(each))))
        ports = [each.port for each in started]
        wait_for(lambda: len(list(folder.glob("sidecar-*.db"))) == DEVICES)
        for each in started:
            assert each.process.stdin is not None
            each.process.stdin.close()
        assert [each.wait() for each in started] == [0] * DEVICES
        lines = [json.loads(line) for line in stream.splitlines()]
        yield Sent(lines, front, ports, shown)


def _cores_after_all_reports(exporter: RunningExporter) -> list[Sample]:
    """Return the series of cores once all reports have been read, before that none."""
    families = exporter.families()
    (reports,) = (
        each for each in families["neuron_exporter_reports"].samples if each.name.endswith("_total")
    )
    return families["neuroncore_utilization_ratio"].samples if reports.value == REPORTS else []


def _start(stack: ExitStack, machine: Path, index: int, url: str) -> RunningExporter:
    """Start the sidecar of one device as its definition says, with other paths and endpoint."""
    folder = machine / str(index)
    (folder / "dev").mkdir(parents=True)
    sidecar = exporter_of(make_definition(TYPE, "inference", "sidecar", str(index)))
    (device,) = sidecar["linuxParameters"]["devices"]
    (volume,) = sidecar["mountPoints"]
    task = {**TASK, "TaskARN": f"{TASK['TaskARN'][:-2]}{index:02}"}
    variables = {
        name: value.replace(volume["containerPath"], str(machine))
        for name, value in environment_of(sidecar).items()
    }
    return stack.enter_context(
        running_exporter(
            folder,
            {},
            flags=["--source", "stdin"],
            environment={
                **CREDENTIALS,
                **variables,
                "ECS_CONTAINER_METADATA_URI_V4": stack.enter_context(ecs(respond(task))).url,
                "NEURON_EXPORTER__CLOUDWATCH__ENDPOINT_URL": url,
                "NEURON_EXPORTER__CLOUDWATCH__FLUSH_INTERVAL": "2s",
            },
            stdin=subprocess.PIPE,
            within=own_dev(folder / "dev", device["containerPath"].removeprefix("/dev/")),
        )
    )


def test_sums_equal_the_machine(sent: Sent) -> None:
    """Nothing is counted twice, nothing is missing, and the average is over all cores."""
    expected = expected_totals(sent.reports)
    assert sent.front.total("ExecutionsCompleted") == expected["completed"]
    assert sent.front.total("ExecutionErrors") == expected["errors"] > 0
    assert sent.front.total("NeuronCoresInUse") == expected["in use"]
    readings = sent.front.values("NeuronCoreUtilization").total()
    assert readings == CORES * REPORTS
    average = sent.front.total("NeuronCoreUtilization") / readings
    assert average == pytest.approx(expected["utilization"])


def test_one_dimension_set(sent: Sent) -> None:
    """All series are in the dimension set that the tasks share; machine series, which each would
    repeat, are not sent."""
    assert (sent.front.rejected, sent.front.inconsistent) == ([], [])
    dimensions: list[Any] = [
        {each["Name"]: each["Value"] for each in datum["Dimensions"]}
        for datum in sent.front.datums()
    ]
    assert dimensions == [SERVICE] * len(dimensions)
    names = {datum["MetricName"] for datum in sent.front.datums()}
    assert not names & {"ExporterHeartbeat", "EccUncorrected", "HostCpuUtilization"}


def test_sidecars_do_not_collide(sent: Sent) -> None:
    """Each sidecar can be scraped while all run, and shows the whole machine to Prometheus. The
    fixture waits until each has its own spool."""
    assert len(set(sent.ports)) == DEVICES
    assert sent.shown == [CORES] * DEVICES
