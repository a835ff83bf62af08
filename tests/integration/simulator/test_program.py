"""The simulator as a program: faults, flags, timing and output."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from neuron_exporter.config.schema import Config
from neuron_exporter.report import ReportError, decode
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import RequestedFault, parse
from tests.support.commands import Finished, run, shell_environment
from tests.support.exporter import SIMULATOR
from tests.support.processes import ended

SMALL = ("--instance-type", "inf2.xlarge", "--runtimes", "1")


def simulate(*flags: str) -> tuple[Finished, list[bytes]]:
    """Run the simulator at full speed. Return the result and its lines."""
    finished = run("simulate", "--speed", "0", *SMALL, *flags)
    return finished, finished.out.encode(errors="surrogateescape").splitlines()


def without_faults(count: int, *flags: str) -> list[bytes]:
    """Return the lines of a run without faults."""
    machine = Machine(parse([*SMALL, *flags]))
    return [
        json.dumps(machine.report(number), separators=(",", ":")).encode()
        for number in range(count)
    ]


def is_report(line: bytes) -> bool:
    """Return whether the exporter accepts a line."""
    with suppress(ReportError):
        decode(line)
        return True
    return False


@contextmanager
def simulator(*flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a simulator process."""
    process = subprocess.Popen(
        [*SIMULATOR, *SMALL, *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shell_environment(),
        # A shell makes processes in the background ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with ended(process):
        yield process


# Faults


def test_crash() -> None:
    """crash@3 replaces the third report by a message and status 1."""
    finished, lines = simulate("--faults", "crash@3")
    assert (finished.status, finished.err) == (1, "simulated crash\n")
    assert lines == without_faults(2)


def test_garbage() -> None:
    """garbage@2 adds text, half a report, other JSON and bytes before the second report."""
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


def test_several_faults() -> None:
    """Each fault occurs at its own report."""
    finished, lines = simulate("--faults", "crash@4, garbage@1,garbage@3")
    one, two, three = without_faults(3)
    assert finished.status == 1
    assert [line for line in lines if is_report(line)] == [one, two, three]
    assert lines.index(one) > 3
    assert lines.index(two) == lines.index(one) + 1
    assert lines.index(three) > lines.index(two) + 3


@pytest.mark.parametrize("seed", ["0", "1", "2"])
def test_crash_without_a_number(seed: str) -> None:
    """A crash occurs from the fifth to the fifteenth report, depending on the seed."""
    finished, lines = simulate("--faults", "crash,garbage", "--seed", seed)
    reports = [line for line in lines if is_report(line)]
    assert finished.status == 1
    assert 4 <= len(reports) <= 14
    assert reports == without_faults(len(reports), "--seed", seed)


def test_garbage_without_a_number() -> None:
    """Garbage occurs at about every fifth report, and all reports are complete."""
    finished, lines = simulate("--faults", "garbage", "--reports", "100")
    assert finished.status == 0
    assert [line for line in lines if is_report(line)] == without_faults(100)
    assert 10 <= sum(b"level=warn" in line for line in lines) <= 40


def test_half_line() -> None:
    """half-line@2 cuts off the second report only."""
    finished, lines = simulate("--faults", "half-line@2", "--reports", "3")
    first, second, third = without_faults(3)
    assert (finished.status, finished.err) == (0, "")
    assert (lines[0], lines[2]) == (first, third)
    assert second.startswith(lines[1])
    assert 0.4 < len(lines[1]) / len(second) < 0.6
    assert not is_report(lines[1])


def test_huge_line() -> None:
    """huge-line@2 adds a line above the exporter's default limit."""
    finished, lines = simulate("--faults", "huge-line@2", "--reports", "3")
    first, second, third = without_faults(3)
    assert (finished.status, finished.err) == (0, "")
    assert (lines[0], *lines[2:]) == (first, second, third)
    assert len(lines[1]) > Config().source.max_line


def test_stderr_flood() -> None:
    """stderr-flood@2 adds 2000 lines on standard error."""
    finished, lines = simulate("--faults", "stderr-flood@2", "--reports", "3")
    assert finished.status == 0
    assert lines == without_faults(3)
    assert finished.err.count("\n") == 2000
    assert all("report=2" in line for line in finished.err.splitlines())


def test_closed_stderr() -> None:
    """With a closed standard error, all reports are still written."""
    flags = [*SMALL, "--speed", "0", "--reports", "3", "--faults", "stderr-flood"]
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" 2>&-', "bash", *SIMULATOR, *flags],
        capture_output=True,
        timeout=60,
        check=False,
        env=shell_environment(),
    )
    assert done.returncode == 0
    assert done.stdout.splitlines() == without_faults(3)


@pytest.mark.parametrize(
    ("faults", "low", "high", "number", "status"),
    [("stall@3", 2, 2, signal.SIGTERM, -15), ("stall", 4, 14, signal.SIGINT, 0)],
)
def test_stall(faults: str, low: int, high: int, number: signal.Signals, status: int) -> None:
    """stall@3 stops the output at the third report, until a signal ends the process."""
    with simulator("--speed", "0", "--faults", faults) as process:
        assert process.stdout is not None
        output = b""
        while output.count(b"\n") < low or select.select([process.stdout], [], [], 0.3)[0]:
            chunk = os.read(process.stdout.fileno(), 2**20)
            assert chunk, "the simulator ended"
            output += chunk
            assert output.count(b"\n") <= high, "the simulator did not stall"
        assert process.poll() is None
        process.send_signal(number)
        rest, errors = process.communicate(timeout=60)
    assert (process.returncode, rest, errors) == (status, b"", b"")
    count = output.count(b"\n")
    assert low <= count <= high
    assert output.splitlines() == without_faults(count)


def test_list_of_faults() -> None:
    faults = parse(["--faults", "crash@5, garbage,stall@1000000000"]).faults
    assert faults == (
        RequestedFault("crash", 5),
        RequestedFault("garbage", None),
        RequestedFault("stall", 1_000_000_000),
    )


# Flags


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        *(
            ([f"--faults={text}"], f"--faults: must be one of {', '.join(FAULTS)}, as in crash@5")
            for text in ("", "boom", "crash@0", "crash@-1", "crash@x", "crash,", "crash@1@2")
        ),
        (["--faults", "crash,sta"], "(got 'sta')"),
        (["--reports", "0"], "--reports: must be a whole number from 1 to 1000000000 (got '0')"),
        (["--runtimes", "1025"], "--runtimes: must be a whole number from 0 to 1024 (got '1025')"),
        (["--runtimes=-1"], "--runtimes: must be a whole number from 0 to 1024 (got '-1')"),
        (["--runtimes", "٣"], "--runtimes: must be a whole number from 0 to 1024 (got '٣')"),
        (["--speed=-1"], "--speed: must be a number from 0 to 1000000 (got '-1')"),
        (["--speed", "nan"], "--speed: must be a number from 0 to 1000000 (got 'nan')"),
        (["--speed", "inf"], "--speed: must be a number from 0 to 1000000 (got 'inf')"),
        (["--speed", "fast"], "--speed: must be a number from 0 to 1000000 (got 'fast')"),
        (["--seed", "x"], "--seed: invalid int value: 'x'"),
        (["--scenario", "idel"], "--scenario: invalid choice: 'idel'"),
        (["--instance-type", "m5.large"], "--instance-type: must be one of inf1.24xlarge, inf1.2"),
        (
            ["--instance-type", "trn2.3xlarge"],
            "no public source has its vCPUs, host memory; must be",
        ),
        (
            ["--instance-type", "inf1.xlarge", "--kubernetes"],
            "--kubernetes: must be used with inf2 or later",
        ),
        (["--verbose", "5"], "--verbose: invalid choice: 5"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_invalid_flag(capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    """The error states what is allowed; nothing is written, and the status is 2."""
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
def test_invalid_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    """The error contains the path of -c and the reason."""
    path = tmp_path / "neuron-monitor.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        parse(["-c", str(path)])
    last = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert last.startswith(f"neuron-exporter simulate: error: argument -c: '{path}': ")
    assert message in last


# Timing


def test_period(tmp_path: Path) -> None:
    """At a period of 1 s, three reports take at low 2 s."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text('{"period": "1s", "system_metrics": [{"type": "memory_info"}]}')
    started = time.monotonic()
    with simulator("-c", str(path), "--reports", "3") as process:
        assert process.stdout is not None
        assert len(list(process.stdout)) == 3
        assert process.wait(60) == 0
    assert time.monotonic() - started >= 2


def test_speed(tmp_path: Path) -> None:
    """At speed 36,000, a period of an hour takes 100 ms."""
    path = tmp_path / "neuron-monitor.json"
    path.write_text('{"period": "3600s", "system_metrics": [{"type": "memory_info"}]}')
    started = time.monotonic()
    with simulator("-c", str(path), "--speed", "36000", "--reports", "4") as process:
        assert process.stdout is not None
        assert len(list(process.stdout)) == 4
    assert time.monotonic() - started >= 0.3


# Output


def test_number_of_reports() -> None:
    finished, lines = simulate("--reports", "7")
    assert (finished.status, finished.err) == (0, "")
    assert lines == without_faults(7)


def test_closed_pipe() -> None:
    """The simulator ends silently when its reader is gone."""
    with simulator("--speed", "0") as process:
        assert process.stdout is not None
        assert is_report(process.stdout.readline())
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.parametrize(
    ("streams", "reason"),
    [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")],
)
def test_unwritable_output(streams: str, reason: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'exec "$@" {streams}', "bash", *SIMULATOR, "--reports", "1"],
        capture_output=True,
        timeout=60,
        check=False,
        env=shell_environment(),
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode() == f"cannot write the reports: {reason}\n"
