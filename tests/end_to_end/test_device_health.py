"""The health of the devices for node-problem-detector and Slurm, by the doctor and the plugin."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from neuron_exporter.facts.driver_files import DEVICE_FILES, UNHEALTHY
from tests.support.commands import shell_environment
from tests.support.doctor import GONE, GOOD, NeuronMachine, beside, doctor, free_address, write
from tests.support.exporter import EXPORTER, RunningExporter, running_exporter, simulated
from tests.support.paths import ROOT
from tests.support.sysfs_tree import write_tree
from tests.support.waiting import wait_for

PLUGIN = ROOT / "k8s" / "examples" / "node-problem-detector" / "neuron_devices.sh"
SLURM = ROOT / "docs" / "slurm_health_check.sh"
CHECK = [*EXPORTER, "doctor", "--check", "devices"]
SIXTEEN = {f"neuron{number}": GOOD for number in range(16)}
HEALTHY = "ok: the exporter has seen no fault since its start"


def plugin(port: int | str, host: str = "127.0.0.1") -> tuple[int, str]:
    """Return the exit status and output of the plugin."""
    done = subprocess.run(
        [PLUGIN, host, str(port)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def reasons(exporter: RunningExporter) -> list[str]:
    """Return the problems of an exporter."""
    _, body = exporter.get("/api/v1/snapshot")
    return [each["reason"] for each in json.loads(body)["problems"]]


def test_healthy_machine(tmp_path: Path) -> None:
    """The doctor and the plugin print one line, and end with 0."""
    source = simulated("--instance-type", "trn1.32xlarge")
    with beside(tmp_path, {"source": source}) as exporter:
        config = str(tmp_path / "exporter.yaml")
        done = NeuronMachine(SIXTEEN).run([*CHECK, "--config", config])
        assert plugin(exporter.port) == (0, f"{HEALTHY}\n")
    (line,) = done.stdout.decode().splitlines()
    assert line.startswith("ok: 16 in /dev (0 to 15); ")
    assert HEALTHY.removeprefix("ok: ") in line
    assert done.returncode == 0


def test_lost_device(tmp_path: Path) -> None:
    """The first words name the fault, and the exit status is 1."""
    source = simulated("--instance-type", "trn1.32xlarge", "--faults", "lost-device")
    with beside(tmp_path, {"source": source}) as exporter:
        wait_for(lambda: "device_missing" in reasons(exporter))
        config = str(tmp_path / "exporter.yaml")
        machine = NeuronMachine(SIXTEEN)
        done = machine.run([*CHECK, "--config", config])
        document = machine.run([*CHECK, "--config", config, "--json"])
        said = plugin(exporter.port)
    assert (done.returncode, done.stdout.decode()) == said
    assert said == (1, "problem: device missing: 15 of 16 are present\n")
    (line,) = document.stdout.splitlines()
    assert document.returncode == 1
    assert json.loads(line)[0]["verdict"] == "failed"
    assert json.loads(line)[0]["seen"] == "device missing: 15 of 16 are present"


def test_unhealthy_device(tmp_path: Path) -> None:
    """The exporter reads the driver's files; the doctor and the plugin ask the exporter."""
    tree = tmp_path / "sysfs"
    tree.mkdir()  # a folder that is missing at the start is looked for once a minute
    flags = ("--instance-type", "trn2.48xlarge", "--sysfs", str(tree))
    source = simulated(*flags, "--faults", "unhealthy-device")
    with beside(tmp_path, {"source": source, "hardware": {"sysfs": str(tree)}}) as exporter:
        wait_for(lambda: "device_unhealthy" in reasons(exporter))
        done = NeuronMachine(SIXTEEN).run([*CHECK, "--config", str(tmp_path / "exporter.yaml")])
        said = plugin(exporter.port)
    assert (done.returncode, done.stdout.decode()) == said
    status, line = said
    assert status == 1
    assert line.startswith("problem: device unhealthy: device 0 (")


def test_without_exporter(tmp_path: Path) -> None:
    """The device files and the driver's files are judged, and are not changed."""
    config = str(write(tmp_path, prometheus={"listen": free_address()}))
    tree = write_tree(tmp_path / "sysfs", range(2))
    health = [tree / f"neuron{device}" / DEVICE_FILES[UNHEALTHY] for device in range(2)]
    for path in health:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n")
    machine = NeuronMachine({"neuron0": GOOD, "neuron1": GOOD}, sysfs=tree)
    done = machine.run([*CHECK, "--config", config])
    assert done.returncode == 0
    assert b"the driver calls devices 0, 1 healthy" in done.stdout

    health[1].write_text("hbm\n")
    done = machine.run([*CHECK, "--config", config])
    assert (done.returncode, done.stdout) == (1, b"problem: neuron1 is unhealthy: hbm\n")

    health[1].unlink()
    os.mkfifo(health[1])
    done = machine.run([*CHECK, "--config", config])
    assert done.returncode == 2
    assert done.stdout.startswith(b"unknown: neuron1/stats/hardware/health_status/")


def test_device_without_driver(tmp_path: Path) -> None:
    config = str(write(tmp_path, prometheus={"listen": free_address()}))
    machine = NeuronMachine({"neuron0": GOOD, "neuron1": GONE})
    done = machine.run([*CHECK, "--config", config])
    assert (done.returncode, done.stdout) == (
        1,
        b"problem: /dev/neuron1 has no driver behind it\n",
    )


def test_nothing_to_judge_by(tmp_path: Path) -> None:
    """Without devices, driver and exporter, the health is unknown."""
    config = str(write(tmp_path, prometheus={"listen": free_address()}))
    done = NeuronMachine({}, driver=None).run([*CHECK, "--config", config])
    assert (done.returncode, done.stdout) == (
        2,
        b"unknown: there is neither a device nor a driver\n",
    )
    assert plugin(1) == (2, "unknown: no exporter answers at 127.0.0.1:1\n")


def test_exporter_without_reports(tmp_path: Path) -> None:
    config = {"source": {"command": ["sleep", "600"]}}
    with running_exporter(tmp_path, config) as exporter:
        status, line = plugin(exporter.port)
    assert status == 2
    assert line.startswith("unknown: the exporter at 127.0.0.1:")


@pytest.mark.parametrize("name", ["device", "Devices", ""])
def test_unknown_subject(name: str) -> None:
    """One error names what is allowed; the exit status is that of unknown health."""
    done = subprocess.run(
        [*EXPORTER, "doctor", "--check", name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    error = done.stderr.splitlines()[-1]
    assert "argument --check: must be one of configuration, exporter, " in error
    assert f"(got {name!r})" in error


def test_other_subjects() -> None:
    """Each subject can be checked alone, with the findings of the whole doctor."""
    result = doctor("--check", "memory", "--check", "driver")
    assert {each.subject for each in result.findings} >= {"memory", "driver"}
    assert {each.subject for each in result.findings} <= {"memory", "driver", "tools"}


class Slurm:
    """A node whose doctor prints a given line, and a `scontrol` that writes down its arguments."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.calls = folder / "calls"
        self.state = "IDLE"

    def run(self, status: int, line: str) -> list[str]:
        """Run the health check; return the updates of the node."""
        self._program("doctor", f"echo '{line}'; exit {status}")
        shown = f"echo 'NodeName=n1 CPUAlloc=0 State={self.state} ThreadsPerCore=2'"
        log = 'printf "%s|" "$@" >> ' + str(self.calls)
        self._program("scontrol", f"case $1 in update) {log} ;; *) {shown} ;; esac")
        self.calls.write_text("")
        done = subprocess.run(
            [SLURM],
            env=shell_environment(
                PATH=f"{self._folder}:{os.environ['PATH']}",
                NEURON_EXPORTER=str(self._folder / "doctor"),
                SLURMD_NODENAME="n1",
            ),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return [each for each in self.calls.read_text().split("|") if each]

    def _program(self, name: str, script: str) -> None:
        path = self._folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


def test_slurm_drains_a_faulty_node(tmp_path: Path) -> None:
    """Only a problem drains it, once. The status is always 0, for which slurmd waits."""
    node = Slurm(tmp_path)
    line = "problem: uncorrected ecc: device 3"
    drain = ["NodeName=n1", "State=DRAIN", "Reason=neuron: uncorrected ecc: device 3"]
    assert node.run(1, line) == ["update", *drain]
    assert node.run(0, HEALTHY) == []
    assert node.run(2, "unknown: there is neither a device nor a driver") == []
    assert node.run(127, "") == []
    assert node.run(1, "") == []  # as by a program that crashes
    assert node.run(1, "unknown: problem: device 3") == []
    node.state = "MIXED+DRAIN"
    assert node.run(1, line) == []


def test_slurm_with_the_real_doctor(tmp_path: Path) -> None:
    config = write(tmp_path, prometheus={"listen": free_address()})
    program = tmp_path / "neuron-exporter"
    program.write_text(f'#!/bin/sh\nexec {" ".join(EXPORTER)} "$@" --config {config}\n')
    program.chmod(0o755)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n')
    scontrol.chmod(0o755)
    done = NeuronMachine({"neuron0": GOOD, "neuron1": GONE}).run(
        [str(SLURM)],
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        NEURON_EXPORTER=str(program),
        SLURMD_NODENAME="n1",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "calls").read_text().splitlines()[-1] == (
        "update NodeName=n1 State=DRAIN Reason=neuron: /dev/neuron1 has no driver behind it"
    )
