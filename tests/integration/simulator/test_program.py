"""The simulator as a program: its faults, its flags, its pace, and who reads it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from neuron_exporter.config.schema import Config
from neuron_exporter.report import ReportError, decode
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import Asked, parse
from tests.support.commands import Finished, run, shell_environment
from tests.support.exporter import SIMULATOR
from tests.support.processes import ended

SMALL = ("--instance-type", "inf2.xlarge", "--runtimes", "1")


def simulate(*flags: str) -> tuple[Finished, list[bytes]]:
    """Run the simulator as fast as it can; gives its lines as well."""
    finished = run("simulate", "--speed", "0", *SMALL, *flags)
    return finished, finished.out.encode(errors="surrogateescape").splitlines()


def without_faults(count: int, *flags: str) -> list[bytes]:
    """The lines of a run in which nothing happens."""
    machine = Machine(parse([*SMALL, *flags]))
    return [
        json.dumps(machine.report(number), separators=(",", ":")).encode()
        for number in range(count)
    ]


def is_report(line: bytes) -> bool:
    """Whether the exporter would take a line."""
    with suppress(ReportError):
        decode(line)
        return True
    return False


@contextmanager
def simulator(*flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running simulator, as a child of the exporter would be."""
    process = subprocess.Popen(
        [*SIMULATOR, *SMALL, *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell_environment(),
        # A shell that runs the tests in the background has made them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with ended(process):
        yield process


# Faults


def test_a_crash_is_instead_of_a_report() -> None:
    """crash@3 ends the third report's turn: two come, then a last word and status 1."""
    finished, lines = simulate("--faults", "crash@3")
    assert (finished.status, finished.err) == (1, "simulated crash\n")
    assert lines == without_faults(2)


def test_garbage_is_before_a_report() -> None:
    """garbage@2 is written before the second report, harms none, and holds what decoders fear:
    text, half a report, JSON that is no report, and bytes that are no text."""
    finished, lines = simulate("--faults", "garbage@2", "--reports", "3")
    first, second, third = without_faults(3)
    assert (finished.status, finished.err) == (0, "")
    assert (lines[0], *lines[-2:]) == (first, second, third)
    text, half, *others = garbage = lines[1:-2]
    assert not any(map(is_report, garbage))
    assert b"level=warn" in text
    assert second.startswith(half)
    assert others[:2] == [b"[]", b"{}"]
    with pytest.raises(UnicodeDecodeError):
        b"".join(others[2:]).decode()


def test_several_faults_happen_each_in_its_turn() -> None:
    """Faults are independent: the garbage comes where it was asked for, then the crash."""
    finished, lines = simulate("--faults", "crash@4, garbage@1,garbage@3")
    one, two, three = without_faults(3)
    assert finished.status == 1
    assert [line for line in lines if is_report(line)] == [one, two, three]
    assert lines.index(one) > 3
    assert lines.index(two) == lines.index(one) + 1
    assert lines.index(three) > lines.index(two) + 3


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_a_fault_without_a_number_comes_at_some_report(seed: str) -> None:
    """A crash comes from the fifth to the fifteenth report, the same for the same seed; garbage
    comes often until then."""
    finished, lines = simulate("--faults", "crash,garbage", "--seed", seed)
    reports = [line for line in lines if is_report(line)]
    assert finished.status == 1
    assert 4 <= len(reports) <= 14
    assert reports == without_faults(len(reports), "--seed", seed)


def test_garbage_without_a_number_comes_often() -> None:
    """Over a hundred reports there is garbage many times, and every report is whole."""
    finished, lines = simulate("--faults", "garbage", "--reports", "100")
    assert finished.status == 0
    assert [line for line in lines if is_report(line)] == without_faults(100)
    assert 10 <= sum(b"level=warn" in line for line in lines) <= 40


def test_half_a_line_is_half_a_report() -> None:
    """half-line@2 ends the second report in its middle; the others are whole."""
    finished, lines = simulate("--faults", "half-line@2", "--reports", "3")
    first, second, third = without_faults(3)
    assert (finished.status, finished.err) == (0, "")
    assert (lines[0], lines[2]) == (first, third)
    assert second.startswith(lines[1])
    assert 0.4 < len(lines[1]) / len(second) < 0.6
    assert not is_report(lines[1])


def test_a_huge_line_is_before_a_report() -> None:
    """huge-line@2 writes more on one line than the exporter keeps by default, and harms none."""
    finished, lines = simulate("--faults", "huge-line@2", "--reports", "3")
    first, second, third = without_faults(3)
    assert (finished.status, finished.err) == (0, "")
    assert (lines[0], *lines[2:]) == (first, second, third)
    assert len(lines[1]) > Config().source.max_line


def test_a_flood_of_complaints_leaves_the_reports_alone() -> None:
    """stderr-flood@2 writes two thousand lines where complaints go, and every report."""
    finished, lines = simulate("--faults", "stderr-flood@2", "--reports", "3")
    assert finished.status == 0
    assert lines == without_faults(3)
    assert finished.err.count("\n") == 2000
    assert all("report=2" in line for line in finished.err.splitlines())


def test_complaints_that_nobody_reads_end_nothing() -> None:
    """Where standard error is closed, a flood of it is lost and the reports are not."""
    flags = [*SMALL, "--speed", "0", "--reports", "3", "--faults", "stderr-flood"]
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" 2>&-', "bash", *SIMULATOR, *flags],
        capture_output=True,
        timeout=30,
        check=False,
        env=shell_environment(),
    )
    assert done.returncode == 0
    assert done.stdout.splitlines() == without_faults(3)


@pytest.mark.parametrize(
    ("faults", "least", "most", "number", "status"),
    [("stall@3", 2, 2, signal.SIGTERM, -15), ("stall", 4, 14, signal.SIGINT, 0)],
)
def test_a_stall_is_silence_until_a_signal(
    faults: str, least: int, most: int, number: signal.Signals, status: int
) -> None:
    """stall@3 says nothing from the third report on, and does not end; a signal ends it."""
    with simulator("--speed", "0", "--faults", faults) as process:
        assert process.stdout is not None
        said = b""
        while said.count(b"\n") < least or select.select([process.stdout], [], [], 0.3)[0]:
            chunk = os.read(process.stdout.fileno(), 2**20)
            assert chunk, "it ended"
            said += chunk
            assert said.count(b"\n") <= most, "it goes on"
        assert process.poll() is None
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=10)
    assert (process.returncode, rest, complaints) == (status, b"", b"")
    count = said.count(b"\n")
    assert least <= count <= most
    assert said.splitlines() == without_faults(count)


def test_faults_are_read_as_they_are_written() -> None:
    """A list of names, each with a number or without."""
    faults = parse(["--faults", "crash@5, garbage,stall@1000000000"]).faults
    assert faults == (Asked("crash", 5), Asked("garbage", None), Asked("stall", 1_000_000_000))


# Flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        *(
            ([f"--faults={text}"], f"--faults: must be of {', '.join(FAULTS)}, as in crash@5")
            for text in ("", "boom", "crash@0", "crash@-1", "crash@x", "crash,", "crash@1@2")
        ),
        (["--faults", "crash,sta"], "(got 'sta')"),
        (["--reports", "0"], "--reports: must be a number from 1 to 1000000000 (got '0')"),
        (["--runtimes", "1025"], "--runtimes: must be a number from 0 to 1024 (got '1025')"),
        (["--runtimes=-1"], "--runtimes: must be a number from 0 to 1024 (got '-1')"),
        (["--runtimes", "٣"], "--runtimes: must be a number from 0 to 1024 (got '٣')"),
        (["--speed=-1"], "--speed: must be a number from 0 to 1000000 (got '-1')"),
        (["--speed", "nan"], "--speed: must be a number from 0 to 1000000 (got 'nan')"),
        (["--speed", "inf"], "--speed: must be a number from 0 to 1000000 (got 'inf')"),
        (["--speed", "fast"], "--speed: must be a number from 0 to 1000000 (got 'fast')"),
        (["--seed", "x"], "--seed: invalid int value: 'x'"),
        (["--scenario", "idel"], "--scenario: invalid choice: 'idel'"),
        (["--instance-type", "m5.large"], "--instance-type: must be one of inf1.24xlarge, inf1.2"),
        (["--instance-type", "trn2.3xlarge"], "no source states its vCPUs, host memory; must be"),
        (["--instance-type", "inf1.xlarge", "--kubernetes"], "--kubernetes: the tools of inf1.xl"),
        (["--verbose", "5"], "--verbose: invalid choice: 5"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_a_wrong_flag_is_named(
    capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    """A mistake ends it before anything is printed, with status 2 and what is allowed."""
    with pytest.raises(SystemExit) as ended:
        parse(flags)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "not a configuration of neuron-monitor: Input data was truncated"),
        (b"period: 5s", "not a configuration of neuron-monitor: JSON is malformed"),
        (b'{"period": "\xff"}', "not a configuration of neuron-monitor: "),
        (b"[]", "Expected `object`, got `array`"),
        (b'{"period": 5}', "Expected `str | null`, got `int` - at `$.period`"),
        (b'{"system_metrics": [{"type": "vcpu"}]}', "Invalid enum value 'vcpu'"),
        (b'{"system_metrics": {}}', "Expected `array | null`, got `object`"),
        (b'{"x": ' + b"[" * 100_000, "not a configuration of neuron-monitor: "),
    ],
)
def test_a_wrong_configuration_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    """A file for -c that is missing or no configuration is told with its name and the reason."""
    path = tmp_path / "neuron-monitor.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        parse(["-c", str(path)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert last.startswith(f"neuron-exporter simulate: error: argument -c: '{path}': ")
    assert message in last


# Pace


def test_a_period_is_a_period(tmp_path: Path) -> None:
    """At a period of a second the first report comes at once, and the others a second apart."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text('{"period": "1s", "system_metrics": [{"type": "memory_info"}]}')
    with simulator("-c", str(path), "--reports", "3") as process:
        assert process.stdout is not None
        times = [time.monotonic() for _ in process.stdout]
        assert process.wait(10) == 0
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == [pytest.approx(1, abs=0.4)] * 2


def test_a_speed_divides_the_time() -> None:
    """A hundred times faster, four reports of 5 s each take about the 150 ms that they should."""
    with simulator("--speed", "100", "--reports", "4") as process:
        assert process.stdout is not None
        times = [time.monotonic() for _ in process.stdout]
    assert len(times) == 4
    assert 0.1 < times[-1] - times[0] < 1


# Readers


def test_reports_end_the_run() -> None:
    """--reports ends it with status 0 after exactly so many."""
    finished, lines = simulate("--reports", "7")
    assert (finished.status, finished.err) == (0, "")
    assert lines == without_faults(7)


def test_a_reader_that_leaves_ends_it() -> None:
    """When the exporter has gone, so does its source, without complaint."""
    with simulator("--speed", "0") as process:
        assert process.stdout is not None
        assert is_report(process.stdout.readline())
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("streams", "complaint"),
    [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")],
)
def test_a_stream_that_cannot_be_written_is_named(streams: str, complaint: str) -> None:
    """Reports that go nowhere are a failure in one line."""
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {streams}', "bash", *SIMULATOR, "--reports", "1"],
        capture_output=True,
        timeout=30,
        check=False,
        env=shell_environment(),
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"the reports cannot be written: {complaint}\n"
