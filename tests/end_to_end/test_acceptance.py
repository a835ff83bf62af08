"""`doctor --acceptance` with the simulator in place of neuron-monitor."""

from __future__ import annotations

import gzip
import json
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import script
from tests.support.commands import Finished, run, shell_environment
from tests.support.device_listing import listing, neuron_ls
from tests.support.doctor import GOOD, NeuronMachine, beside, free_address, write
from tests.support.exporter import EXPORTER, SIMULATOR
from tests.support.processes import alive
from tests.support.sysfs_tree import write_tree
from tests.support.waiting import wait_for

TRN2 = ("--instance-type", "trn2.48xlarge")
LISTING = listing(range(16), cores=4, lnc=2, memory=96 * 2**30)
ALL_16 = {f"neuron{number}": GOOD for number in range(16)}


def neuron_monitor(folder: Path, *flags: str) -> Path:
    """Write a neuron-monitor that runs the simulator, and notes its process id for each start."""
    command = shlex.join([*SIMULATOR, *flags])
    return script(folder / "neuron-monitor", f'echo $$ >> {folder}/starts\nexec {command} "$@"')


def starts(folder: Path) -> list[int]:
    """Return the process ids of the neuron-monitors that were started."""
    return [int(pid) for pid in (folder / "starts").read_text().split()]


def with_source(folder: Path, **source: Any) -> list[str]:
    """Return the flags with a configuration that has this source, and for a recording."""
    path = write(folder, source=source, prometheus={"listen": free_address()})
    return ["--config", str(path), "--output", str(folder / "reports.ndjson.gz")]


def configured(folder: Path, *flags: str) -> list[str]:
    """Return the flags with a configuration whose neuron-monitor is the simulator."""
    return with_source(folder, command=[str(neuron_monitor(folder, *flags))], period="1s")


def accept(*flags: str, duration: str = "3s") -> Finished:
    """Run the acceptance to its end."""
    return run("doctor", "--acceptance", "--json", "--duration", duration, *flags)


def judgements(document: str) -> dict[str, str]:
    """Return the result of each assumption."""
    return {each["name"]: each["result"] for each in json.loads(document)["assumptions"]}


def contradicted(document: str) -> set[str]:
    """Return the assumptions that did not hold."""
    return {name for name, result in judgements(document).items() if result == "did not hold"}


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Return the reports of the recording."""
    with gzip.open(folder / "reports.ndjson.gz") as file:
        return [json.loads(line) for line in file]


def with_sysfs(tree: Path, command: Sequence[str]) -> list[str]:
    """Return a command that sees this tree below /sys, read-only, and then runs the command."""
    place = "/sys/devices/virtual"
    prepare = [
        f"mount -t tmpfs none {place}",
        f"mkdir {place}/neuron_device",
        f"cp -r {tree}/. {place}/neuron_device",
        f"mount -o remount,ro {place}",
    ]
    return ["sh", "-c", f'{" && ".join(prepare)} && exec "$@"', "sh", *command]


def on_machine(
    folder: Path,
    *flags: str,
    devices: dict[str, tuple[int, int]] | None = None,
    driver: str = "2.30.2.0",
    is_moved: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run the acceptance where /dev, /sys and neuron-ls show a trn2.48xlarge."""
    neuron_ls(folder, LISTING)
    tree = write_tree(folder / "sys", range(16), cores=8, is_moved=is_moved)
    command = [*EXPORTER, "doctor", "--acceptance", "--duration", "6s", *flags]
    machine = NeuronMachine(devices or ALL_16, driver=driver)
    return machine.run(with_sysfs(tree, command))


def test_everything_agrees(tmp_path: Path) -> None:
    """Nothing contradicts, and the output ends with the row for the table of machines."""
    done = on_machine(tmp_path, *configured(tmp_path, *TRN2))
    out = done.stdout.decode()
    assert done.returncode == 0, out + done.stderr.decode()
    assert "did not hold  " not in out
    for name in ("neuron-ls-devices", "neuron-ls-cores", "neuron-ls-lnc", "neuron-ls-memory",
                 "device-files", "physical-cores", "sysfs-layout", "sysfs-values", "sysfs-cores",
                 "period", "first-report", "groups", "instance-type"):  # fmt: skip
        assert f"held          {name} " in out, out
    header, _, row = out.splitlines()[-3:]
    assert header.startswith("| type | driver | tools |")
    assert row.startswith("| trn2.48xlarge | 2.30.2.0 |")
    assert " 16 x 4 (LNC 2) " in row
    assert "simulated: confirms nothing" in row


def test_moved_files_of_a_newer_driver(tmp_path: Path) -> None:
    flags = [*configured(tmp_path, *TRN2), "--json"]
    done = on_machine(tmp_path, *flags, driver="2.31.7.0", is_moved=True)
    document = json.loads(done.stdout)
    results = judgements(done.stdout.decode())
    assert results["sysfs-layout"] == results["sysfs-values"] == "held"
    assert "health/ecc/mem_ecc_uncorrected" in document["sysfs"]["moved"]
    assert document["machine"]["driver"] == "2.31.7.0"


def test_container_that_counts_from_zero(tmp_path: Path) -> None:
    """Reports that number the devices 4 to 7 of a container from 0 contradict."""
    flags = [*configured(tmp_path, "--instance-type", "inf1.6xlarge"), "--json"]
    devices = {f"neuron{number}": GOOD for number in range(4, 8)}
    done = on_machine(tmp_path, *flags, devices=devices)
    assert done.returncode == 1
    assert contradicted(done.stdout.decode()) >= {"device-files", "container-numbers"}


@pytest.mark.parametrize(
    ("faults", "names"),
    [
        ("lost-device", {"device-list", "instance-type", "listed-cores"}),
        ("whole-first-period", {"first-report"}),
        ("garbage@2", {"lines"}),
    ],
)
def test_faults(tmp_path: Path, faults: str, names: set[str]) -> None:
    """Each fault contradicts what it concerns."""
    done = accept(*configured(tmp_path, "--faults", faults))
    assert done.status == 1, done.err
    assert contradicted(done.out) >= names


def replay(folder: Path, reports: Path) -> Finished:
    """Run the acceptance on all reports of a file."""
    flags = with_source(folder, kind="file", path=str(reports))
    return accept(*flags, "--output", str(folder / "replayed.ndjson"), duration="1h")


@pytest.mark.parametrize(
    ("fault", "name", "expected"),
    [
        ("ecc-level", "ecc-level", "held"),
        ("ecc-tally", "ecc-level", "did not hold"),
        ("nulls", "groups", "not seen"),
        ("nulls", "device-list", "held"),
        ("nan", "values", "did not hold"),
        ("error-groups", "group-errors", "did not hold"),
    ],
)
def test_faults_of_many_reports(tmp_path: Path, fault: str, name: str, expected: str) -> None:
    """What needs an hour of reports is replayed."""
    (tmp_path / "neuron-monitor.json").write_text(
        json.dumps(
            {
                "period": "5s",
                "neuron_runtimes": [{"metrics": [{"type": "neuroncore_counters"}]}],
                "system_metrics": [{"type": "neuron_hw_counters"}, {"type": "memory_info"}],
            }
        )
    )
    reports = tmp_path / "reports.ndjson"
    with reports.open("wb") as file:
        subprocess.run(
            [
                *(*SIMULATOR, "--speed", "0", "--reports", "700", "--faults", fault),
                *("--instance-type", "inf2.24xlarge", "-c", tmp_path / "neuron-monitor.json"),
            ],
            stdout=file,
            check=True,
        )
    done = replay(tmp_path, reports)
    assert json.loads(done.out)["reports"] >= 600
    assert judgements(done.out)[name] == expected, done.out


def test_recording_is_masked_and_complete(tmp_path: Path) -> None:
    done = accept(*configured(tmp_path))
    assert done.status == 0, done.out + done.err
    document = json.loads(done.out)
    reports = recorded(tmp_path)
    assert len(reports) == document["reports"] >= 2
    assert document["recording"] == str(tmp_path / "reports.ndjson.gz")
    assert (tmp_path / "reports.ndjson.gz").stat().st_mode & 0o777 == 0o600
    for report in reports:
        assert report["instance_info"]["instance_id"] == "i-00000000000000001"
        assert all(
            each["neuron_runtime_tag"].startswith("runtime-")
            for each in report["neuron_runtime_data"]
        )


def test_missing_neuron_ls_is_no_failure(tmp_path: Path) -> None:
    """Nothing of neuron-ls, /dev and /sys was seen, and the child has ended."""
    done = accept(*configured(tmp_path))
    assert done.status == 0, done.out
    for each in json.loads(done.out)["assumptions"]:
        if each["name"].startswith("neuron-ls-"):
            assert (each["result"], each["evidence"]) == ("not seen", "neuron-ls was not found")
    for pid in starts(tmp_path):
        wait_for(lambda pid=pid: not alive(pid))


def test_replayed_recording(tmp_path: Path) -> None:
    """Its reports are judged without comparing them with the machine at hand."""
    accept(*configured(tmp_path, *TRN2), duration="4s")
    done = replay(tmp_path, tmp_path / "reports.ndjson.gz")
    assert done.status == 0, done.out + done.err
    document = json.loads(done.out)
    assert document["is_replayed"]
    assert document["end"].startswith("the source ended")
    assert "by a recording" in document["row"]
    by_name = {each["name"]: each["evidence"] for each in document["assumptions"]}
    assert by_name["device-files"] == by_name["sysfs-layout"] == by_name["neuron-ls-lnc"]
    assert by_name["device-files"] == "the reports describe another machine"


def test_stream_that_ends_is_started_again(tmp_path: Path) -> None:
    """The end of neuron-monitor contradicts; what it printed before and after is judged."""
    done = accept(*configured(tmp_path, "--faults", "crash@3"), duration="8s")
    assert done.status == 1
    assert "lines" in contradicted(done.out)
    assert judgements(done.out)["first-report"] == "held"
    assert len(starts(tmp_path)) > 1


def test_program_that_ends_without_a_report(tmp_path: Path) -> None:
    """There is nothing to wait for, and no empty recording stays."""
    program = script(tmp_path / "neuron-monitor", "echo FATA: no driver >&2; exit 1")
    done = accept(*with_source(tmp_path, command=[str(program)]), duration="10m")
    assert done.status == 1
    assert "no report was read: exited: neuron-monitor exited with status 1; " in done.err
    assert "FATA: no driver" in done.err
    assert not (tmp_path / "reports.ndjson.gz").exists()
    assert {*judgements(done.out).values()} == {"not seen"}


def test_missing_program(tmp_path: Path) -> None:
    done = accept(*with_source(tmp_path, command=["/no/monitor"]), duration="10m")
    assert done.status == 1
    assert "no report was read: missing_program: /no/monitor: no such program" in done.err


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start an acceptance of ten minutes, and wait until it has recorded a report."""
    command = [*EXPORTER, "doctor", "--acceptance", "--json", "--duration", "10m", *flags]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell_environment(),
    ) as process:
        try:
            path = folder / "reports.ndjson.gz"
            wait_for(lambda: path.exists() and path.stat().st_size > 2000)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption(tmp_path: Path, number: signal.Signals) -> None:
    """It prints what it has seen, keeps the recording, and ends neuron-monitor."""
    with started(tmp_path, *configured(tmp_path)) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    document = json.loads(out)
    assert document["end"] == "interrupted"
    assert document["reports"] == len(recorded(tmp_path)) > 0
    assert b"Traceback" not in err
    (pid,) = starts(tmp_path)
    wait_for(lambda: not alive(pid))


def test_beside_a_running_exporter(tmp_path: Path) -> None:
    """It reads the exporter's reports, and starts no second neuron-monitor."""
    source = {"command": [str(neuron_monitor(tmp_path, *TRN2))], "period": "1s"}
    neuron_ls(tmp_path, LISTING)
    with beside(tmp_path, {"source": source}) as exporter:
        output = tmp_path / "reports.ndjson.gz"
        done = accept(
            "--config", str(tmp_path / "exporter.yaml"), "--output", str(output), duration="8s"
        )
        assert exporter.stop() == 0
    assert done.status == 0, done.out + done.err
    document = json.loads(done.out)
    results = judgements(done.out)
    assert document["source"] == "the running exporter (masked by it)"
    assert document["is_simulated"]
    assert len(recorded(tmp_path)) == document["reports"] > 3
    assert results["neuron-ls-cores"] == results["period"] == "held"
    assert results["first-report"] == results["runtime-pids"] == "not seen"
    assert len(starts(tmp_path)) == 1


def test_beside_a_paused_exporter(tmp_path: Path) -> None:
    """Nothing may open the devices."""
    source = {"command": [str(neuron_monitor(tmp_path))], "period": "1s"}
    with beside(tmp_path, {"source": source}) as exporter:
        exporter.process.send_signal(signal.SIGUSR1)
        exporter.wait_for_event("source_state", state="paused")
        done = accept("--config", str(tmp_path / "exporter.yaml"))
        assert exporter.stop() == 0
    assert (done.status, done.out) == (1, "")
    assert done.error_lines == [
        "the exporter is paused, perhaps to reset the driver: resume it with SIGUSR1 first"
    ]
    assert len(starts(tmp_path)) == 1


def test_exporter_without_debug_routes(tmp_path: Path) -> None:
    config = {"source": {"kind": "simulator", "period": "1s"}, "web": {"page": False}}
    with beside(tmp_path, config) as exporter:
        done = accept("--config", str(tmp_path / "exporter.yaml"))
        assert exporter.stop() == 0
    assert done.status == 1
    assert "has no /debug/report (web.page is false)" in done.err


def test_full_disk(tmp_path: Path) -> None:
    """The judgements are printed, and the error names the incomplete recording."""
    flags = [*configured(tmp_path), "--output", str(tmp_path / "reports.ndjson")]
    command = [*EXPORTER, "doctor", "--acceptance", "--json", "--duration", "4s", *flags]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *command],
        capture_output=True,
        env=shell_environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["reports"] > 1
    assert b"the recording is incomplete: File too large" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--acceptance", "--duration", "15"], "argument --duration: must be a duration such as"),
        (["--acceptance", "--duration", "0s"], "--duration: must be from 1s to 1d (got '0s')"),
        (["--acceptance", "--duration", "2d"], "--duration: must be from 1s to 1d (got '2d')"),
        (["--acceptance", "--send"], "--acceptance: must not be combined with --send or --bundle"),
        (["--duration", "5m"], "--duration: is allowed with --acceptance only"),
        (["--output", "x"], "--output: is allowed with --acceptance only"),
        (["--acceptance", "--config", "/nonexistent"], "/nonexistent"),
    ],
)
def test_wrong_use(flags: list[str], error: str) -> None:
    done = run("doctor", *flags)
    assert (done.status, done.out) == (2, "")
    assert error in done.err
    assert "Traceback" not in done.err


def test_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "reports.ndjson.gz").write_text("mine")
    done = accept(*configured(tmp_path))
    assert done.status == 2
    assert done.error_lines == [
        f"--output: {tmp_path}/reports.ndjson.gz: exists already and is not overwritten"
    ]
    assert (tmp_path / "reports.ndjson.gz").read_text() == "mine"
    assert not (tmp_path / "starts").exists()


def test_default_recording_is_among_the_temporary_files(tmp_path: Path) -> None:
    flags = configured(tmp_path)[:2]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = time.time()
    done = run(
        *("doctor", "--acceptance", "--duration", "3s", *flags),
        environment={"TMPDIR": str(temporary)},
    )
    assert done.status == 0, done.err
    (path,) = temporary.glob("neuron-exporter-acceptance-*.ndjson.gz")
    assert path.stat().st_mtime >= before - 1
    assert f"recording them, masked, to {path}" in done.err
    assert f"recording   {path}" in done.out
