"""`record`: exact recordings, masked recordings, and how it ends."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.report import decode
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support.children import LINE, child
from tests.support.commands import Finished, run, shell_environment
from tests.support.exporter import EXPORTER, running_exporter
from tests.support.full_pipe import full_pipe
from tests.support.processes import alive, children_of, ended
from tests.support.reports import INSTANCE, executions, group, report, runtime
from tests.support.waiting import wait_for

UNMASKED = {"instance_type", "instance_availability_zone", "instance_region"}


def simulated(count: int, *flags: str) -> bytes:
    """Return the lines of a simulated machine."""
    machine = Machine(parse(["--instance-type", "inf2.8xlarge", *flags]))
    lines = [json.dumps(machine.report(number)).encode() for number in range(count)]
    return b"".join(line + b"\n" for line in lines)


def record(*flags: str, given: bytes = b"") -> Finished:
    """Run `record` to its end, reading files as fast as possible."""
    fast = {"NEURON_EXPORTER__SOURCE__REPLAY__SPEED": "0"}
    source = () if "--source" in flags else ("--source", "stdin")
    return run("record", *source, *flags, environment=fast, given=given.decode())


def content(path: Path) -> bytes:
    """Return the complete content of a recording."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


@contextmanager
def recording(folder: Path, *flags: str, stdout: int | None = None) -> Iterator[Any]:
    """Run `record` on a child that prints ten reports a second."""
    config = folder / "exporter.yaml"
    command = child("report", "sleep=0.1", "again")
    config.write_text(json.dumps({"source": {"command": command, "period": "1s"}}))
    process = subprocess.Popen(
        [*EXPORTER, "record", "--config", str(config), *flags],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=shell_environment(),
    )
    with ended(process):
        yield process


# Content


def test_recording_is_exact(tmp_path: Path) -> None:
    """Invalid lines are kept, and a recording of a recording is the same."""
    first, second = tmp_path / "reports.ndjson", tmp_path / "reports.ndjson.gz"
    lines = b"level=warn hello\n" + simulated(4) + b'{"half": \n' + simulated(2, "--seed", "1")
    finished = record("--output", str(first), given=lines)
    assert (finished.status, finished.out) == (0, "")
    assert finished.err.splitlines()[-1] == f"recorded 6 reports to {first}"
    assert content(first) == lines

    assert record("--source", str(first), "--output", str(second)).status == 0
    assert content(second) == lines
    assert record("--source", str(second)).out == lines.decode()


def test_recording_of_the_simulator(tmp_path: Path) -> None:
    path = tmp_path / "reports.ndjson"
    finished = run("record", "--source", "simulator", "--reports", "1", "--output", str(path))
    assert finished == Finished(0, "", f"recorded 1 report to {path}\n")
    found, invalid_fields = decode(content(path))
    assert invalid_fields == ()
    assert found.instance_info.instance_type == "trn1.32xlarge"


def test_report_limit() -> None:
    lines = b"hello\n" + simulated(5)
    finished = record("--reports", "2", given=lines)
    assert finished.out == b"\n".join(lines.split(b"\n")[:3]).decode() + "\n"
    assert finished.err.splitlines()[-1] == "recorded 2 reports"


# Errors


@pytest.mark.parametrize("name", ["there", "there.gz"])
def test_existing_file_is_kept(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("precious")
    finished = record("--output", str(path), given=simulated(1))
    assert (finished.status, finished.out) == (2, "")
    assert finished.error_lines == [f"--output: {path}: exists already and is not overwritten"]
    assert path.read_text() == "precious"


def test_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "reports"
    finished = record("--output", str(path), given=simulated(1))
    assert finished == Finished(
        2, "", f"neuron-exporter: --output: {path}: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("name", "flags", "given"),
    [("none", (), b""), ("none.gz", (), b""), ("none", ("--mask",), b"hello\n[]\n")],
)
def test_recording_without_reports(
    tmp_path: Path, name: str, flags: tuple[str, ...], given: bytes
) -> None:
    path = tmp_path / name
    finished = record("--output", str(path), *flags, given=given)
    assert (finished.status, finished.out) == (1, "")
    assert "recorded 0 reports" in finished.err.splitlines()
    assert not path.exists()


def test_output_without_reports_that_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    recording = subprocess.Popen(
        [*EXPORTER, "record", "--source", "stdin", "--output", str(path)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell_environment(),
    )
    wait_for(path.exists)
    path.rename(tmp_path / "moved")
    _, err = recording.communicate(timeout=60)
    assert (recording.returncode, err.splitlines()[-1]) == (1, b"recorded 0 reports")
    assert b"Traceback" not in err


def test_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "reports"
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *EXPORTER]
    done = subprocess.run(
        [*limited, "record", "--source", "stdin", "--output", str(path)],
        input=simulated(20),
        capture_output=True,
        env=shell_environment(),
        timeout=60,
        check=False,
    )
    failed, recorded = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (1, b"")
    assert failed == f"neuron-exporter: --output: {path}: File too large"
    count = int(recorded.split()[1])
    assert 0 < count < 20
    assert content(path).startswith(b"".join(simulated(count).splitlines(keepends=True)))


# How it ends


@pytest.mark.parametrize(
    ("name", "number"), [("reports.ndjson", signal.SIGTERM), ("reports.ndjson.gz", signal.SIGINT)]
)
def test_signal_ends_with_complete_lines(tmp_path: Path, name: str, number: signal.Signals) -> None:
    path = tmp_path / name
    with recording(tmp_path, "--output", str(path)) as process:
        wait_for(lambda: path.exists() and path.stat().st_size > 100)
        started = children_of(process.pid)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)

    assert process.returncode == 0
    count, rest = divmod(len(content(path)), len(LINE))
    assert rest == 0
    assert content(path) == LINE * count
    assert f"recorded {count} report" in errors.decode().splitlines()[-1]
    assert started
    assert not any(map(alive, started))


def test_closed_pipe_ends_recording(tmp_path: Path) -> None:
    with recording(tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == LINE
        started = children_of(process.pid)
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(60) == 0
    assert errors == b""
    assert started
    assert not any(map(alive, started))


def test_signal_ends_recording_with_stuck_reader(tmp_path: Path) -> None:
    with full_pipe() as pipe, recording(tmp_path, stdout=pipe.writing) as process:
        started = wait_for(lambda: children_of(process.pid))
        wait_for(lambda: is_writing_output(process.pid))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 1
    assert not any(map(alive, started))


def is_writing_output(pid: int) -> bool:
    """Return whether a process is in a system call whose first argument is standard output."""
    return Path(f"/proc/{pid}/syscall").read_text().split()[1:2] == ["0x1"]


# Masks

SECRETS = (
    *("i-0123456789abcdef0", "ami-0feedc0ffee000000", "subnet-0123", "payroll-host"),
    *("u-0ultraserver", "bert-payroll", "resnet-payroll", "/models/payroll.neff", "5ec2e7"),
    *("pod-payroll", "space-payroll", "container-payroll", "payroll", "271828", "314159"),
    *("/dev/neuron7", "10.1.2.3"),
)


def revealing_report(*runtimes: dict[str, Any]) -> dict[str, Any]:
    """Return a report with names and IDs of its owner."""
    models = [{"name": "/models/payroll.neff", "uuid": "5ec2e7", "model_id": 10001}]
    pod = {
        "pod_name": "pod-payroll",
        "namespace": "space-payroll",
        "container_name": ["container-payroll"],
    }
    for each in runtimes:
        each["report"]["memory_used"] = group(
            "cannot open /dev/neuron7 of i-0123456789abcdef0 at 10.1.2.3: denied",
            loaded_models=models,
        )
    return report(
        *runtimes,
        instance_info={
            **INSTANCE,
            "instance_name": "payroll-host",
            "ami_id": "ami-0feedc0ffee000000",
            "ultraserver_id": "u-0ultraserver",
        },
        neuron_k8s_info={"neuroncores_k8s_info": {"0": pod}, "error": ""},
    )


def shape(value: Any, key: str = "") -> Any:
    """Return a report without the values that may be masked."""
    if isinstance(value, dict):
        return {name: shape(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item, key) for item in value]
    masked = (isinstance(value, str) and value and key not in UNMASKED) or key == "pid"
    return "masked" if masked else value


def test_mask_removes_names(tmp_path: Path) -> None:
    """Numbers and the instance type stay, and equal names have equal masks in all reports."""
    bert = runtime(271828, "bert-payroll", execution_stats=executions(3))
    resnet = runtime(314159, "resnet-payroll", execution_stats=executions(5))
    reports = [revealing_report(bert, resnet), revealing_report(resnet), revealing_report(bert)]
    lines = b"".join(json.dumps(each).encode() + b"\n" for each in reports)
    path = tmp_path / "masked.ndjson"
    finished = record("--mask", "--output", str(path), given=(b"payroll\n" + lines))
    assert finished.status == 0
    assert "left out 1 line without a report" in finished.err.splitlines()

    text = content(path).decode()
    assert [secret for secret in SECRETS if secret in text] == []
    masked = [json.loads(line) for line in text.splitlines()]
    assert [shape(each) for each in masked] == [shape(each) for each in reports]
    names = [
        [(entry["pid"], entry["neuron_runtime_tag"]) for entry in each["neuron_runtime_data"]]
        for each in masked
    ]
    (first, second), *later = names
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert later == [[second], [first]]
    error = masked[0]["neuron_runtime_data"][0]["report"]["memory_used"]["error"]
    assert error == "***"


def test_masked_recording_has_equal_values(tmp_path: Path) -> None:
    lines = simulated(12, "--scenario", "mixed", "--runtimes", "6")
    masked = record("--mask", given=lines).out.encode()
    assert masked != lines
    timed = ("neuron_exporter", "neuron_execution_gap", "process", "python")
    exposed = []
    for each in (lines, masked):
        config = {"source": {"kind": "stdin"}}
        with running_exporter(tmp_path, config, stdin=subprocess.PIPE) as exporter:
            stdin = exporter.process.stdin
            assert stdin is not None
            stdin.write(each)
            stdin.flush()
            exporter.wait_for_value("neuron_exporter_reports_total", 12)
            exposed.append(
                {
                    name: sorted(sample.value for sample in family.samples)
                    for name, family in exporter.families().items()
                    if not name.startswith(timed)
                }
            )
    assert exposed[0] == exposed[1]
    assert len(exposed[0]) > 15
