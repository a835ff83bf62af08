"""`simulate --sysfs`: the directory, while the program runs and after it."""

from __future__ import annotations

import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.commands import run, shell_environment
from tests.support.exporter import SIMULATOR
from tests.support.processes import ended
from tests.support.waiting import wait_for

FLAGS = ("--instance-type", "inf2.xlarge", "--runtimes", "1", "--scenario", "training")
FORMS = {
    "stats/power/utilization": r"POWER_STATUS_VALID,\d{10}(,\d{1,3}\.\d{2}){3}\n",
    "stats/hardware/mem_ecc_corrected": r"\d+\n",
    "neuron_core0/stats/status/success/total": r"\d+\n",
    "neuron_core1/stats/other_info/reset_req_count/total": r"\d+\n",
}


@contextmanager
def simulator(*flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a simulator that writes its reports to nowhere."""
    process = subprocess.Popen(
        [*SIMULATOR, *FLAGS, *flags],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=shell_environment(),
    )
    with ended(process):
        yield process


def test_a_reader_in_a_loop_sees_whole_values(tmp_path: Path) -> None:
    """Values move with the reports while another process reads them; on exit the tree stays."""
    device = tmp_path / "neuron0"
    seen: dict[str, set[str]] = defaultdict(set)
    faults = "ecc-level,device-reset"
    with simulator("--sysfs", str(tmp_path), "--speed", "100", "--faults", faults) as process:

        def has_moved() -> bool:
            for path in FORMS:
                with suppress(FileNotFoundError):  # while the device is reset
                    seen[path].add((device / path).read_text())
            return all(len(seen[path]) > 1 for path in FORMS)

        wait_for(has_moved, 300.0, every=0)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert errors == b""
    for path, form in FORMS.items():
        assert [text for text in seen[path] if not re.fullmatch(form, text)] == []
    if device.exists():  # unless it ended during a reset
        assert [path.name for path in sorted(device.glob("neuron_core*"))] == [
            *("neuron_core0", "neuron_core1"),
        ]


def test_another_run_takes_the_tree_over(tmp_path: Path) -> None:
    machines = ("inf2.48xlarge", "inf2.xlarge")
    for machine in machines:
        flags = ("--instance-type", machine, "--sysfs", str(tmp_path))
        assert run("simulate", "--speed", "0", "--reports", "1", *flags).status == 0
    assert [path.name for path in tmp_path.glob("neuron*")] == ["neuron0"]


def test_same_bytes_with_and_without_files(tmp_path: Path) -> None:
    flags = ("--reports", "5", "--speed", "0", "--seed", "7", "--instance-type", "inf2.xlarge")
    assert run("simulate", *flags).out == run("simulate", *flags, "--sysfs", str(tmp_path)).out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sysfs", "{}/mine"], "{}/mine: must be empty or have files of the simulator only"),
        (["--sysfs", "{}/mine/file"], "{}/mine/file: cannot be written: Not a directory"),
        (["--sysfs", "/proc/tree"], "/proc/tree: cannot be written: No such file or directory"),
        (["--sysfs", ""], "must be the path of a directory (got '')"),
        (
            ["--sysfs", "{}/new", "--instance-type", "inf1.xlarge"],
            "must be used with inf2 or later (got inf1.xlarge, whose driver has other files)",
        ),
    ],
)
def test_directory_that_cannot_be_used(tmp_path: Path, flags: list[str], message: str) -> None:
    """There is one error and no report; nothing is written."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("text")
    finished = run("simulate", *(each.format(tmp_path) for each in flags))
    prefix = "neuron-exporter simulate: error: argument --sysfs: "
    assert (finished.status, finished.out) == (2, "")
    assert finished.err.splitlines()[-1] == prefix + message.format(tmp_path)
    assert {path.name for path in tmp_path.rglob("*")} == {"mine", "file"}


def test_layout_without_a_directory() -> None:
    finished = run("simulate", "--sysfs-layout", "moved")
    assert finished.status == 2
    assert finished.err.endswith("argument --sysfs-layout: must be used with --sysfs\n")
