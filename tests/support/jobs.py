"""Jobs of a scheduler: real processes with its variables, reported in neuron-monitor's place."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import script
from tests.support.exporter import RunningExporter
from tests.support.reports import cores, executions, group, memory, report, runtime

JOB_ID = "SLURM_JOB_ID"
CORES = 64
CORES_PER_DEVICE = 4

BUSY = "neuroncore_utilization_ratio"
PAIRS = "neuroncore_runtime_info"

_NEXT_PID = Path("/proc/sys/kernel/ns_last_pid")
_HOST_NAMESPACE = 0xEFFFFFFC


def require_host_pids() -> None:
    """Skip the test in a container: the exporter reads processes by the pids of the host only."""
    if os.stat("/proc/self/ns/pid").st_ino != _HOST_NAMESPACE:
        pytest.skip("not in the pid namespace of the host")


def start(job: str | None, within: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """Start a process of a job; None for one that no scheduler started."""
    environment = {"PATH": os.environ["PATH"], "PASSWORD": "hidden"}
    if job is not None:
        environment[JOB_ID] = job
    return subprocess.Popen([*within, "sleep", "infinity"], env=environment)


def start_with_pid(pid: int, job: str | None) -> subprocess.Popen[bytes]:
    """Start a process with a pid that is free; skip the test where the kernel does not allow it."""
    for _ in range(1000):
        try:
            _NEXT_PID.write_text(str(pid - 1))
        except OSError:
            pytest.skip("the next pid cannot be chosen")
        process = start(job)
        if process.pid == pid:
            return process
        process.kill()
        process.wait()
    raise AssertionError(f"pid {pid} is in use")


class Machine:
    """A machine of 16 devices with 4 cores, whose runtimes are processes of jobs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.jobs: dict[int, str | None] = {}
        """Job of each process that was ever reported, by pid."""
        self.cores: dict[int, Sequence[int]] = {}
        """Cores of each process."""
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.write()

    @property
    def source(self) -> dict[str, Any]:
        """Source that prints the report each second, in place of neuron-monitor."""
        path = self._folder / "report.json"
        monitor = script(self._folder / "monitor", f"while sleep 1; do cat {path}; done")
        return {"command": [str(monitor)], "period": "1s"}

    def add(self, process: subprocess.Popen[bytes], job: str | None, used: Sequence[int]) -> None:
        """Add a process that uses these cores, from the next report on."""
        self._processes[process.pid] = process
        self.jobs[process.pid] = job
        self.cores[process.pid] = used

    def end(self, pid: int) -> None:
        """End a process, which is not in the next report."""
        process = self._processes.pop(pid)
        process.kill()
        process.wait()
        del self.cores[pid]

    def end_all(self) -> None:
        """End all processes."""
        for pid in [*self._processes]:
            self.end(pid)

    def write(self) -> None:
        """Replace the report."""
        runtimes = [_runtime(pid, used) for pid, used in self.cores.items()]
        hardware = {
            "neuron_device_count": CORES // CORES_PER_DEVICE,
            "neuroncore_per_device_count": CORES_PER_DEVICE,
            "error": "",
        }
        new = self._folder / "new.json"
        new.write_text(json.dumps(report(*runtimes, neuron_hardware_info=hardware)) + "\n")
        new.replace(self._folder / "report.json")


def _runtime(pid: int, used: Iterable[int]) -> dict[str, Any]:
    """Return a runtime that completes an execution in each period."""
    busy = dict.fromkeys(map(str, range(CORES)), 0.0) | {str(core): 50.0 for core in used}
    filled: Mapping[str, Any] = {str(core): {"tensors": 1024} for core in used}
    return runtime(
        pid,
        "train",
        neuroncore_counters=cores(**busy),
        memory_used=memory(dict(filled)),
        execution_stats=group(**{**executions(1), "period": 1.0}),
    )


@contextmanager
def machine_with_jobs(folder: Path) -> Iterator[Machine]:
    """Yield a machine without jobs; end those that are added."""
    machine = Machine(folder)
    try:
        yield machine
    finally:
        machine.end_all()


def shown_jobs(exporter: RunningExporter) -> tuple[dict[int, str], dict[int, dict[int, str]]]:
    """Return what one scrape shows: the job of each core, and by core that of each of its
    processes; empty where there is none."""
    families = exporter.families()
    by_core = {
        int(sample.labels["neuroncore"]): sample.labels.get("job_id", "")
        for sample in (families[BUSY].samples if BUSY in families else ())
    }
    by_process: dict[int, dict[int, str]] = {}
    for sample in families[PAIRS].samples if PAIRS in families else ():
        processes = by_process.setdefault(int(sample.labels["neuroncore"]), {})
        processes[int(sample.labels["pid"])] = sample.labels.get("job_id", "")
    return by_core, by_process


def wrong_jobs(machine: Machine, exporter: RunningExporter) -> list[str]:
    """Return what a scrape shows that is neither true nor unknown."""
    by_core, by_process = shown_jobs(exporter)
    wrong = []
    for core, processes in by_process.items():
        true = {pid: machine.jobs[pid] or "" for pid in processes}
        wrong += [
            f"core {core}, process {pid}: {job}, not {true[pid]}"
            for pid, job in processes.items()
            if job not in ("", true[pid])
        ]
        common = {*true.values()}
        if by_core[core] not in ("", *(common if len(common) == 1 else ())):
            wrong.append(f"core {core}: {by_core[core]}, not {common}")
    wrong += [
        f"core {core} is idle, not {job}"
        for core, job in by_core.items()
        if job and core not in by_process
    ]
    return wrong


def is_shown(machine: Machine, exporter: RunningExporter) -> bool:
    """Return whether a scrape shows exactly the jobs of the machine."""
    by_core, by_process = shown_jobs(exporter)
    expected: dict[int, dict[int, str]] = {}
    for pid, used in machine.cores.items():
        for core in used:
            expected.setdefault(core, {})[pid] = machine.jobs[pid] or ""
    jobs = {core: {*processes.values()} for core, processes in expected.items()}
    return by_process == expected and by_core == {
        core: jobs[core].copy().pop() if len(jobs.get(core, ())) == 1 else ""
        for core in range(CORES)
    }
