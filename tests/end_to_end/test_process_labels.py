"""A running exporter beside real processes of jobs: every scrape shows their true labels."""

from __future__ import annotations

import os
import random
import subprocess
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.owners.process_labels import NO_HOST_PIDS
from tests.support.doctor import CREDENTIALS, NAMESPACES, WITH_FEW_RIGHTS, doctor
from tests.support.endpoint import Endpoint
from tests.support.exporter import RunningExporter, running_exporter, write_config
from tests.support.jobs import (
    CORES,
    JOB_ID,
    Machine,
    is_shown,
    machine_with_jobs,
    require_host_pids,
    shown_jobs,
    start,
    start_with_pid,
    wrong_jobs,
)
from tests.support.reports import INSTANCE
from tests.support.waiting import wait_for

JOBS = 64

WITH_ADDED_RIGHTS = (
    *("setpriv", "--inh-caps", "-all"),
    *("--bounding-set", "-all,+sys_ptrace,+dac_read_search"),
)
"""Command prefix: root with the capabilities that docs/jobs.md adds."""


@pytest.fixture(autouse=True)
def _host_pids() -> None:
    require_host_pids()


def config(machine: Machine) -> dict[str, Any]:
    """Return a configuration with the ids of jobs."""
    return {
        "source": machine.source,
        "identity": {"process_labels": {"job_id": JOB_ID}, "kubernetes": False, "ecs": False},
    }


def watch(
    machine: Machine, exporter: RunningExporter, until: Callable[[], bool], seconds: float = 60.0
) -> None:
    """Wait for a condition; check every scrape in the meantime."""

    def checked() -> bool:
        assert wrong_jobs(machine, exporter) == []
        return until()

    wait_for(checked, seconds)


def completed(exporter: RunningExporter) -> dict[str, float]:
    """Return the completed executions of each job."""
    family = exporter.families().get("execution_status")
    return {
        sample.labels.get("job_id", ""): sample.value
        for sample in (family.samples if family else ())
        if sample.labels["status_type"] == "completed"
    }


def test_every_scrape_shows_the_true_jobs(tmp_path: Path) -> None:
    """Jobs start and end on 64 cores, all with one tag: several processes of a job, processes
    without a job, and cores that two jobs share."""
    rng = random.Random(21)
    with (
        machine_with_jobs(tmp_path) as machine,
        running_exporter(tmp_path, config(machine)) as exporter,
    ):
        number = 0
        while number < JOBS:
            for pid in [*machine.cores]:
                if rng.random() < 0.6:
                    machine.end(pid)
            used = {core for cores in machine.cores.values() for core in cores}
            free = [core for core in range(CORES) if core not in used]
            rng.shuffle(free)
            while len(free) >= 4 and number < JOBS:
                number += 1
                job = None if number % 8 == 0 else str(1000 + number)
                machine.add(start(job), job, free[:2])
                machine.add(start(job), job, free[2:4])
                if number % 5 == 0:
                    machine.add(start("shared"), "shared", free[1:2])
                free = free[4:]
            machine.write()
            watch(machine, exporter, lambda: is_shown(machine, exporter))
        before = completed(exporter)
        machine.end_all()
        machine.write()
        watch(machine, exporter, lambda: is_shown(machine, exporter))
        counts = completed(exporter)
        # Two processes of a job complete two executions a second.
        assert counts.keys() == {*(job or "" for job in machine.jobs.values())}
        assert all(counts[job] >= count > 0 for job, count in before.items())
        total = exporter.value("neuron_executions_total", status_type="completed")
        assert sum(counts.values()) == total
        assert "hidden" not in "".join(exporter.raw_log) + exporter.get("/metrics")[1]
        assert exporter.stop() == 0


def test_reused_pid(tmp_path: Path) -> None:
    """Another job's process with the pid of an ended one never has the labels of the first: not if
    a report between them lacks the pid. If none does, the next lookup notices."""
    with (
        machine_with_jobs(tmp_path) as machine,
        running_exporter(tmp_path, config(machine)) as exporter,
    ):
        process = start("1")
        machine.add(process, "1", range(4))
        machine.write()
        watch(machine, exporter, lambda: is_shown(machine, exporter))
        machine.end(process.pid)
        machine.write()
        watch(machine, exporter, lambda: is_shown(machine, exporter))
        machine.add(start_with_pid(process.pid, "2"), "2", range(4))
        machine.write()
        watch(machine, exporter, lambda: is_shown(machine, exporter))
        machine.end(process.pid)
        machine.add(start_with_pid(process.pid, "3"), "3", range(4))
        wait_for(lambda: is_shown(machine, exporter))
        counts = completed(exporter)
        assert {*counts} == {"1", "2", "3"}
        machine.end_all()
        machine.write()
        watch(machine, exporter, lambda: shown_jobs(exporter)[1] == {})
        assert all(completed(exporter)[job] >= count for job, count in counts.items())
        assert exporter.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start processes of another user")
def test_processes_of_other_users(tmp_path: Path) -> None:
    """Without capabilities, they have no labels. The log says so once, and the doctor what to do;
    with those of the recipe they have them."""
    unprivileged = ("setpriv", "--reuid", "65534", "--clear-groups")
    with machine_with_jobs(tmp_path) as machine:
        other, own = start("1", unprivileged), start("2", WITH_FEW_RIGHTS)
        machine.add(other, "1", [0])
        machine.add(own, "2", [1])
        machine.write()
        with running_exporter(tmp_path, config(machine), within=WITH_FEW_RIGHTS) as exporter:
            event = exporter.wait_for_event("owner_lookup", level="warning")
            assert event["provider"] == "process labels"
            assert event["result"] == "/proc/PID/environ: Permission denied"
            watch(machine, exporter, lambda: shown_jobs(exporter)[0].get(1) == "2")
            assert shown_jobs(exporter)[1] == {0: {other.pid: ""}, 1: {own.pid: "2"}}
            assert exporter.value("neuron_exporter_owner_lookup_up", provider="process_labels") == 0
            path = str(write_config(tmp_path, config(machine)))
            (warned, *_) = doctor("--config", path, within=WITH_FEW_RIGHTS).about(
                "owners", "warning"
            )
            assert warned.seen == "process labels: /proc/PID/environ: Permission denied"
            assert "CAP_SYS_PTRACE" in warned.fix
            found = [each.seen for each in doctor("--config", path).about("owners", "ok")]
            assert "process labels: 2 of 2 processes have some" in found
            assert len(exporter.events("owner_lookup")) <= 2
            assert exporter.stop() == 0
        with running_exporter(tmp_path, config(machine), within=WITH_ADDED_RIGHTS) as exporter:
            watch(machine, exporter, lambda: is_shown(machine, exporter))
            assert exporter.stop() == 0


def test_pids_of_the_host_in_a_container(tmp_path: Path) -> None:
    """In a pid namespace of its own, the exporter reads no process: the pids that neuron-monitor
    reports are those of other processes there, such as the exporter's."""
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the tests may not create namespaces (they are not run by root)")
    machine = Machine(tmp_path)
    machine.jobs = dict.fromkeys(range(1, 9))
    machine.cores = {pid: [pid] for pid in machine.jobs}
    machine.write()
    settings = config(machine)
    variables = {JOB_ID: "1"}
    with running_exporter(tmp_path, settings, within=NAMESPACES, environment=variables) as exporter:
        exporter.wait_for_event("owner_lookup", result=NO_HOST_PIDS)
        watch(machine, exporter, lambda: is_shown(machine, exporter))
        wait_for(lambda: completed(exporter).get("", 0) > 0)
        path = str(write_config(tmp_path, settings))
        warned = doctor("--config", path, within=NAMESPACES, **variables).about("owners", "warning")
        assert f"process labels: {NO_HOST_PIDS}" in [each.seen for each in warned]


def test_cloudwatch_counts_each_execution_for_its_job(tmp_path: Path, endpoint: Endpoint) -> None:
    """Jobs follow each other on the same cores, with one tag, in a set by job and one without."""
    with machine_with_jobs(tmp_path) as machine:
        settings = {
            **config(machine),
            "cloudwatch": {
                "enabled": True,
                "endpoint_url": endpoint.url,
                "region": "us-east-1",
                "flush_interval": "1s",
                "dimension_sets": [["InstanceType"], ["job_id"]],
            },
        }
        with running_exporter(tmp_path, settings, environment=CREDENTIALS) as exporter:
            for job in ("1", "2", "3"):
                machine.add(start(job), job, range(4))
                machine.write()
                watch(machine, exporter, lambda: is_shown(machine, exporter))
                machine.end_all()
            machine.write()
            watch(machine, exporter, lambda: is_shown(machine, exporter))
            counts = completed(exporter)
            assert exporter.stop() == 0
    sent: defaultdict[str, float] = defaultdict(float)
    for datum in endpoint.datums():
        if datum["MetricName"] == "ExecutionsCompleted":
            (dimension,) = datum["Dimensions"]
            sent[dimension["Value"]] += datum["Value"]
    assert {job: sent[job] for job in counts} == counts
    assert sent[INSTANCE["instance_type"]] == sum(counts.values())
