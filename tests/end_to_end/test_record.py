"""Recordings: what the source said, to be replayed, and masked to be shown to others."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import time
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
from tests.support.processes import alive, children_of, ended
from tests.support.reports import INSTANCE, executions, group, report, runtime
from tests.support.waiting import wait_for

KEPT = {"instance_type", "instance_availability_zone", "instance_region"}


def simulated(count: int, *flags: str) -> bytes:
    """The lines of a simulated machine."""
    machine = Machine(parse(["--instance-type", "inf2.8xlarge", *flags]))
    lines = [json.dumps(machine.report(number)).encode() for number in range(count)]
    return b"".join(line + b"\n" for line in lines)


def record(*flags: str, given: bytes = b"") -> Finished:
    """Run `record` to its end: standard input, and files as fast as possible."""
    fast = {"NEURON_EXPORTER__SOURCE__REPLAY__SPEED": "0"}
    source = () if "--source" in flags else ("--source", "stdin")
    return run("record", *source, *flags, environment=fast, given=given.decode())


def content(path: Path) -> bytes:
    """What is in a recording, which is whole."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


@contextmanager
def recording(folder: Path, *flags: str, stdout: int | None = None) -> Iterator[Any]:
    """A recording under way, of a child that prints a report every tenth of a second."""
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


# What is kept


def test_a_recording_is_what_was_said(tmp_path: Path) -> None:
    """All lines are kept byte by byte, garbage as well, so that it replays to the same; and a
    recording of the recording, compressed or not, is the same again."""
    first, second = tmp_path / "reports.ndjson", tmp_path / "reports.ndjson.gz"
    lines = b"level=warn hello\n" + simulated(4) + b'{"half": \n' + simulated(2, "--seed", "1")
    finished = record("--output", str(first), given=lines)
    assert (finished.status, finished.out) == (0, "")
    assert finished.err.splitlines()[-1] == f"recorded 6 reports to {first}"
    assert content(first) == lines

    assert record("--source", str(first), "--output", str(second)).status == 0
    assert content(second) == lines
    assert record("--source", str(second)).out == lines.decode()


def test_the_simulator_is_recorded(tmp_path: Path) -> None:
    """Without hardware there is still something to record; --reports ends it."""
    path = tmp_path / "reports.ndjson"
    finished = run("record", "--source", "simulator", "--reports", "1", "--output", str(path))
    assert finished == Finished(0, "", f"recorded 1 report to {path}\n")
    found, faults = decode(content(path))
    assert faults == ()
    assert found.instance_info.instance_type == "trn1.32xlarge"


def test_reports_are_counted_not_lines() -> None:
    """--reports ends after so many reports, whatever stands between them."""
    lines = b"hello\n" + simulated(5)
    finished = record("--reports", "2", given=lines)
    assert finished.out == b"\n".join(lines.split(b"\n")[:3]).decode() + "\n"
    assert finished.err.splitlines()[-1] == "recorded 2 reports"


# What is refused


@pytest.mark.parametrize("name", ["there", "there.gz"])
def test_nothing_is_overwritten(tmp_path: Path, name: str) -> None:
    """A recording that is there already is left as it is."""
    path = tmp_path / name
    path.write_text("precious")
    finished = record("--output", str(path), given=simulated(1))
    assert (finished.status, finished.out) == (2, "")
    assert finished.complaints == [f"--output: {path}: exists already, and is not overwritten"]
    assert path.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A folder that is not there is one line with the system's reason."""
    path = tmp_path / "nowhere" / "reports"
    finished = record("--output", str(path), given=simulated(1))
    assert finished == Finished(
        2, "", f"neuron-exporter: --output: {path}: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("name", "flags", "given"),
    [("none", (), b""), ("none.gz", (), b""), ("none", ("--mask",), b"hello\n[]\n")],
)
def test_a_recording_without_reports_fails(
    tmp_path: Path, name: str, flags: tuple[str, ...], given: bytes
) -> None:
    """Where nothing came, the status is 1 and no empty file is left."""
    path = tmp_path / name
    finished = record("--output", str(path), *flags, given=given)
    assert (finished.status, finished.out) == (1, "")
    assert "recorded 0 reports" in finished.err.splitlines()
    assert not path.exists()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    """What could be written before the disk was full is kept, and the failure is one line."""
    path = tmp_path / "reports"
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", *EXPORTER]
    done = subprocess.run(
        [*limited, "record", "--source", "stdin", "--output", str(path)],
        input=simulated(20),
        capture_output=True,
        env=shell_environment(),
        timeout=30,
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
def test_a_signal_ends_it_with_a_whole_file(
    tmp_path: Path, name: str, number: signal.Signals
) -> None:
    """Whoever has enough ends it, and has every line in full; the child has gone."""
    path = tmp_path / name
    with recording(tmp_path, "--output", str(path)) as process:
        wait_for(lambda: path.exists() and path.stat().st_size > 100)
        started = children_of(process.pid)
        asked = time.monotonic()
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
        assert time.monotonic() - asked < 5

    assert process.returncode == 0
    count, rest = divmod(len(content(path)), len(LINE))
    assert rest == 0
    assert content(path) == LINE * count
    assert f"recorded {count} report" in said.decode().splitlines()[-1]
    assert started
    assert not any(map(alive, started))


def test_a_reader_that_leaves_ends_it(tmp_path: Path) -> None:
    """`record | head -1` shows one report, and ends without a word about it or a child left."""
    with recording(tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == LINE
        started = children_of(process.pid)
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(10) == 0
    assert said == b""
    assert started
    assert not any(map(alive, started))


# Masks

SECRETS = (
    *("i-0123456789abcdef0", "ami-0feedc0ffee000000", "subnet-0123", "payroll-host"),
    *("u-0ultraserver", "bert-payroll", "resnet-payroll", "/models/payroll.neff", "5ec2e7"),
    *("pod-payroll", "space-payroll", "container-payroll", "payroll", "271828", "314159"),
    *("/dev/neuron7", "10.1.2.3"),
)


def telling(*runtimes: dict[str, Any]) -> dict[str, Any]:
    """A report that tells much about whoever runs it."""
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
    """A report without what may be masked."""
    if isinstance(value, dict):
        return {name: shape(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item, key) for item in value]
    masked = (isinstance(value, str) and value and key not in KEPT) or key == "pid"
    return "masked" if masked else value


def test_masks_leave_nothing_that_names_somebody(tmp_path: Path) -> None:
    """Ids, names, tags, pods, models, paths and addresses go; numbers and the kind of machine
    stay, and the same thing has the same mask in every report."""
    bert = runtime(271828, "bert-payroll", execution_stats=executions(3))
    resnet = runtime(314159, "resnet-payroll", execution_stats=executions(5))
    reports = [telling(bert, resnet), telling(resnet), telling(bert)]
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
    assert error == "cannot open * of * at * denied"


def test_a_masked_recording_replays_to_the_same(tmp_path: Path) -> None:
    """Each value that a scrape shows of a recording is shown of its masked copy as well."""
    lines = simulated(12, "--scenario", "mixed", "--runtimes", "6")
    masked = record("--mask", given=lines).out.encode()
    assert masked != lines
    shown = []
    for each in (lines, masked):
        config = {"source": {"kind": "stdin"}}
        with running_exporter(tmp_path, config, stdin=subprocess.PIPE) as exporter:
            os.write(exporter.process.stdin.fileno(), each)  # type: ignore[union-attr]
            exporter.wait_for_value("neuron_exporter_reports_total", 12)
            shown.append(
                {
                    name: sorted(sample.value for sample in family.samples)
                    for name, family in exporter.families().items()
                    if not name.startswith(("neuron_exporter", "process", "python"))
                }
            )
    assert shown[0] == shown[1]
    assert len(shown[0]) > 15
