"""The doctor with and without a running exporter, on healthy and failing machines."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_exporter.doctor.finding import Finding
from tests.conftest import Golden
from tests.support import metadata
from tests.support.commands import run, shell_environment
from tests.support.doctor import (
    CREDENTIALS,
    GONE,
    GOOD,
    NAMESPACES,
    WITH_FEW_RIGHTS,
    NeuronMachine,
    beside,
    doctor,
    free_address,
    write,
)
from tests.support.exporter import (
    EXPORTER,
    SIMULATOR,
    simulated,
)
from tests.support.processes import alive
from tests.support.sysfs_tree import write_tree
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint
from tests.support.waiting import wait_for

SIXTEEN = {f"neuron{number}": GOOD for number in range(16)}

_VARIABLE_PARTS = (
    (re.compile(r"http://127\.0\.0\.1:\d+"), "http://127.0.0.1:PORT"),
    (re.compile(r"127\.0\.0\.1:\d+"), "127.0.0.1:PORT"),
    (re.compile(r"version \d\S*,"), "version V,"),
    (re.compile(r"\d+ reports read"), "N reports read"),
    (
        re.compile(r"report is [\d.]+ s old \(one every [\d.]+ s\)"),
        "report is A s old (one every P s)",
    ),
    (re.compile(r"delivery \d+ s ago"), "delivery A s ago"),
    (re.compile(r"one report every [\d.]+ s"), "one report every P s"),
    (
        re.compile(r"locked by (process \d+|a process in another container)"),
        "locked by process PID",
    ),
    (re.compile(r": [\d.]+ MiB, locked"), ": N MiB, locked"),
    (re.compile(r"arn:aws:\S+"), "arn:aws:ARN"),
    (re.compile(r"program is \S+"), "program is PROGRAM"),
    (re.compile(r"\d+ metrics of"), "N metrics of"),
)
"""Text that differs between runs, and its replacement in a golden file."""

_MACHINE_SUBJECTS = ("memory", "tools")
"""Subjects that depend on the machine that runs the tests."""


def normalize(text: str, folder: Path) -> str:
    """Return the doctor's output without what differs between runs and machines."""
    text = text.replace(str(folder), "FOLDER")
    for pattern, name in _VARIABLE_PARTS:
        text = pattern.sub(name, text)
    kept, is_kept = [], True
    for line in text.splitlines()[:-1]:
        if not line.startswith(" "):
            is_kept = line.split()[1] not in _MACHINE_SUBJECTS
        if is_kept:
            kept.append(line)
    return "\n".join(kept) + "\n"


@pytest.fixture
def front(moto: str) -> Iterator[ValidatingEndpoint]:
    """Start a CloudWatch that rejects what AWS rejects."""
    with validating_endpoint(moto) as started:
        yield started


def test_healthy_machine(
    tmp_path: Path, front: ValidatingEndpoint, moto: str, golden: Golden
) -> None:
    """Beside a healthy exporter the exit status is 0, and every line is OK but one: that its
    reports are simulated."""
    config = {
        "source": simulated("--instance-type", "trn1.32xlarge"),
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": front.url,
            "flush_interval": "1s",
            "dimension_sets": [["InstanceId", "InstanceType"], ["ClusterName"]],
        },
    }
    with metadata.ecs() as task:
        environment = {
            **CREDENTIALS,
            "ECS_CONTAINER_METADATA_URI_V4": task.url,
            "AWS_ENDPOINT_URL_STS": moto,
        }
        with beside(tmp_path, config, **environment) as exporter:
            exporter.wait_for_value("neuron_exporter_sink_up", 1, sink="cloudwatch")
            tree = write_tree(tmp_path / "sysfs", range(16))
            done = NeuronMachine(SIXTEEN, users=1, sysfs=tree).run(
                [*EXPORTER, "doctor", "--config", str(tmp_path / "exporter.yaml")], **environment
            )
            assert exporter.stop() == 0
    out = done.stdout.decode()
    assert done.returncode == 0, out
    assert "failed  " not in out
    assert "geheim" not in out + done.stderr.decode()
    golden.check("doctor/healthy.txt", normalize(out, tmp_path))


def test_failing_machine(tmp_path: Path, golden: Golden) -> None:
    """Every line states a problem and a fix, and the exit status is 1."""
    path = write(
        tmp_path,
        source={"command": ["sh", "-c", "echo FATA: no driver >&2; exit 1"]},
        prometheus={"listen": free_address()},
        cloudwatch={
            "enabled": True,
            "endpoint_url": "http://127.0.0.1:1",
            "dimension_sets": [["InstanceId"], ["ClusterName", "PodName"]],
            "spool": {"path": "/proc/spool.db"},
        },
        identity={"instance_type": "inf1.6xlarge"},
    )
    machine = NeuronMachine({"neuron0": GOOD, "neuron1": GONE}, users=15)
    with metadata.imds({"/latest/api/token": metadata.never_respond}) as ec2:
        done = machine.run(
            [*EXPORTER, "doctor", "--config", str(path)],
            AWS_EC2_METADATA_DISABLED="false",
            AWS_EC2_METADATA_SERVICE_ENDPOINT=ec2.url,
            AWS_REGION="us-west-2",
            AWS_CONFIG_FILE="/nonexistent",
            AWS_SHARED_CREDENTIALS_FILE="/nonexistent",
        )
    assert done.returncode == 1
    assert b"Traceback" not in done.stdout + done.stderr
    golden.check("doctor/failing.txt", normalize(done.stdout.decode(), tmp_path))


def test_few_permissions(tmp_path: Path) -> None:
    """Device modes are shown, and processes that cannot be read are counted."""
    path = write(tmp_path, source={"kind": "stdin"}, prometheus={"listen": free_address()})
    command = [*WITH_FEW_RIGHTS, *EXPORTER, "doctor", "--json", "--config", str(path)]
    machine = NeuronMachine({"neuron0": GOOD}, users=1, mode="000")
    findings = [Finding(**each) for each in json.loads(machine.run(command).stdout)]
    seen = [each.seen for each in findings if each.subject == "devices"]
    assert "/dev/neuron0 may not be opened by user 0 (EACCES: c---------, user 0, group 0)" in seen
    (users,) = [line for line in seen if "open" in line and "EACCES" not in line]
    assert users.startswith("no process has a device open; only this container's processes")
    assert "of other users are not visible" in users


def test_settings_of_the_running_exporter(tmp_path: Path) -> None:
    """File and flags are those of the running exporter; other variables are named without
    values."""
    path = write(tmp_path, source=simulated(), prometheus={"listen": "127.0.0.1:1"})
    address = free_address()
    script = f"""
        exporter="{sys.executable} -m neuron_exporter"
        AWS_PROFILE=geheim $exporter run --config {path.name} --listen {address} &
        running=$!
        for _ in $(seq 100); do
            $exporter doctor --json > findings.json
            grep -q 'source is ok' findings.json &&
                grep -q 'runs the exporter' findings.json && break
            sleep 0.1
        done
        kill $running; wait $running
    """
    done = subprocess.run(
        [*NAMESPACES, "sh", "-c", script],
        cwd=tmp_path,
        env=shell_environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.stderr.startswith(b"unshare: "):
        pytest.skip("the tests may not make namespaces (they are not run by root)")
    text = (tmp_path / "findings.json").read_text()
    seen = [each["seen"] for each in json.loads(text)]
    assert any(line.endswith("runs the exporter with this configuration") for line in seen)
    assert f"{path}: good; flags: --listen" in seen
    assert f"answers at {address}" in text
    assert any(line.endswith("variables: AWS_PROFILE") for line in seen)
    assert "geheim" not in text


def test_bundle_has_no_secrets(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    config = {
        "source": simulated("--faults", "error-groups"),
        "cloudwatch": {
            "enabled": True,
            "region": "us-west-2",
            "endpoint_url": "http://me:geheim@127.0.0.1:1",
            "flush_interval": "1s",
        },
    }
    with beside(tmp_path, config, **CREDENTIALS) as exporter:
        wait_for(lambda: exporter.value("neuron_exporter_sink_queue_requests", sink="cloudwatch"))
        result = doctor(
            *("--config", str(tmp_path / "exporter.yaml"), "--bundle", str(bundle)), **CREDENTIALS
        )
        assert "geheim" not in exporter.get("/api/v1/snapshot")[1]
    assert result.status == 1
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    with tarfile.open(bundle) as archive:
        parts = {Path(each.name).name: archive.extractfile(each) for each in archive}
        content = {name: part.read().decode() for name, part in parts.items() if part}
    assert set(content) == {
        *("findings.json", "configuration.yaml", "metrics.txt", "snapshot.json", "threads.txt"),
        *("report.json", "versions.txt"),
    }
    assert set(json.loads(content["report.json"])) >= {"neuron_runtime_data", "system_data"}
    assert "i-0538f898351a7e0ff" not in content["report.json"]
    named = {line for line in content["threads.txt"].splitlines() if line.endswith(":")}
    assert {"MainThread:", "cloudwatch:", "http:", "reader:"} <= named
    assert all(f"  {name}: " in result.err for name in content)
    assert "geheim" not in "".join(content.values())
    assert "neuron_exporter_source_state" in content["metrics.txt"]
    before = bundle.read_bytes()
    again = run("doctor", "--bundle", str(bundle))
    assert again.status == 2
    assert again.error_lines == [f"--bundle: {bundle}: exists already and is not overwritten"]
    assert bundle.read_bytes() == before


def test_invalid_configuration(tmp_path: Path) -> None:
    """Every problem that `check` reports is a finding, and the valid part is used."""
    path = tmp_path / "exporter.yaml"
    path.write_text(
        f"source: {{kind: file, path: /no/such}}\nprometheus: {{listen: '{free_address()}'}}\n"
        "cloudwatch: {namespace: AWS/x}\nlog: {level: loud}\n"
    )
    result = doctor("--config", str(path), NEURON_EXPORTER__SOURCE__PERIOD="2s")
    assert result.status == 1
    problems = [each.seen for each in result.about("configuration", "failed")]
    assert sorted(problem.split(": ")[0] for problem in problems) == [
        f"{path}:{line}" for line in (1, 3, 4)
    ]
    assert problems == run("check", "--config", str(path)).error_lines
    assert result.about("exporter")[0].seen.startswith("nothing listens at 127.0.0.1:")
    assert doctor("--config", str(tmp_path / "none")).about("configuration", "failed")


def test_unknown_flag() -> None:
    assert run("doctor", "--nonsense").status == 2


def test_interrupt(tmp_path: Path) -> None:
    """SIGINT ends the doctor and a hanging source, and leaves no partial bundle.

    The source begins with more errors than a pipe holds: once they are read, the doctor has it.
    """
    pids, bundle = tmp_path / "pids", tmp_path / "bundle.tar.gz"
    script = f"head -c 1000000 /dev/zero >&2; echo $$ > {pids}; exec sleep 600"
    path = write(
        tmp_path,
        source={"command": ["sh", "-c", script]},
        prometheus={"listen": free_address()},
    )
    process = subprocess.Popen(
        [*EXPORTER, "doctor", "--config", str(path), "--bundle", str(bundle)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell_environment(),
    )
    wait_for(lambda: pids.exists() and pids.read_text().strip())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert err == b""
    assert not alive(int(pids.read_text()))
    assert not bundle.exists()


def test_closed_pipe(tmp_path: Path) -> None:
    """`doctor | head -1` ends without an error."""
    path = write(tmp_path, source={"command": [*SIMULATOR]}, prometheus={"listen": free_address()})
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(EXPORTER)} doctor --config {path} | head -1"],
        capture_output=True,
        env=shell_environment(),
        timeout=60,
        check=False,
    )
    assert done.stdout.decode().startswith("ok       configuration")
    assert done.stderr == b""
