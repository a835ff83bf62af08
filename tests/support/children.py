"""A program that performs the steps in its arguments, in place of neuron-monitor.

It misbehaves in ways that the simulator does not. It imports little, so that it starts fast, and
uses the argument of `-c` only in the step `configuration`.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FOREVER = 3600.0

REPORT: dict[str, Any] = {
    "neuron_runtime_data": [
        {
            "pid": 100,
            "neuron_runtime_tag": "app",
            "error": "",
            "report": {
                "execution_stats": {
                    "period": 1.0,
                    "execution_summary": {"completed": 3, "timed_out": 0},
                    "error_summary": {"hardware": 0},
                    "latency_stats": {"total_latency": None, "device_latency": None},
                    "error": "",
                }
            },
        }
    ],
    "system_data": {
        "memory_info": {
            "period": 1.0,
            "memory_total_bytes": 4096,
            "memory_used_bytes": 1024,
            "error": "",
        }
    },
    "instance_info": {"instance_id": "i-0123456789abcdef0", "error": ""},
    "neuron_hardware_info": {
        "neuron_device_count": 1,
        "neuroncore_per_device_count": 2,
        "error": "",
    },
}
LINE = json.dumps(REPORT, separators=(",", ":")).encode() + b"\n"

_CLONE_VFORK = 0x4000
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_PR_SET_PTRACER = 0x59616D61
_PTRACE_SEIZE = 0x4206
_ANY_PROCESS = ctypes.c_ulong(-1)


def no_driver() -> bytes:
    """Return a report of a machine without a driver."""
    report = {
        "neuron_runtime_data": [],
        "system_data": {
            "memory_info": REPORT["system_data"]["memory_info"],
            "neuron_hw_counters": {"period": 1.0, "neuron_devices": None, "error": ""},
        },
        "neuron_hardware_info": {"error": "is the Neuron Driver running?"},
    }
    return json.dumps(report).encode() + b"\n"


def large_report(size: int) -> bytes:
    """Return a report in a line of `size` bytes, filled up with an unknown field."""
    padding = size - len(LINE) + 1 - len(b',"x":""')
    return LINE[:-2] + b',"x":"' + b"x" * padding + b'"}\n'


def child(*steps: str) -> list[str]:
    """Return the command of a child that performs these steps and exits."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), *steps]


def script(path: Path, text: str) -> Path:
    """Write an executable shell script and return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def _say(data: bytes, fd: int = 1) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _start_grandchild(*, daemon: bool = False) -> None:
    """Start a process that shares our output, prints its id and never exits."""
    subprocess.Popen(child("ignore", "pid", "forever"), start_new_session=daemon)


def _facts() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "environment": dict(os.environ),
        "oom_score_adj": int(Path("/proc/self/oom_score_adj").read_text()),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "input": os.readlink("/proc/self/fd/0"),
    }


def _sleep_uninterruptibly() -> None:
    """Wait in the kernel (state D) like the parent of a vfork. Only SIGKILL ends it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.syscall(_SYS_CLONE[platform.machine()], _CLONE_VFORK | signal.SIGCHLD, 0, 0, 0, 0)
    time.sleep(FOREVER)


def _become_unreapable(until: Path) -> None:
    """Let a tracer outside the group attach, so that the parent cannot reap this process.

    This resembles a process blocked by a driver. It ends when the file `until` exists.
    """
    ready, writing = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PTRACER, _ANY_PROCESS)  # required by some security modules
    if not os.fork():
        os.setsid()
        seized = libc.ptrace(_PTRACE_SEIZE, os.getppid(), None, None)
        os.write(writing, b"%d" % seized)
        over = time.monotonic() + 60
        while not until.exists() and time.monotonic() < over:
            time.sleep(0.02)
        os._exit(0)
    assert os.read(ready, 9) == b"0", "tracing is not permitted"


def _do(step: str, value: str) -> None:
    match step:
        case "report":
            _say(LINE * int(value or 1))
        case "large-report":
            _say(large_report(int(value)))
        case "no-driver":
            _say(no_driver())
        case "half-report":
            _say(LINE[:100])
        case "print":
            _say(value.encode() + b"\n")
        case "binary":
            _say(bytes(range(256)) + b"\n")
        case "flood":
            while True:
                _say(value.encode() + b"\n")
        case "binary-flood":
            while True:
                _say(bytes(range(256)))
        case "long-line":
            _say(b"x" * int(value) + b"\n")
        case "endless-line":
            _say(b"x" * int(value))
        case "facts":
            _say(json.dumps(_facts()).encode() + b"\n")
        case "configuration":
            _say(Path(sys.argv[sys.argv.index("-c") + 1]).read_bytes() + b"\n")
        case "lose-configuration":
            path = Path(sys.argv[sys.argv.index("-c") + 1])
            path.unlink()
            path.parent.rmdir()
        case "stderr":
            _say(value.encode() + b"\n", 2)
        case "stderr-rest":
            _say(value.encode(), 2)
        case "stderr-bytes":
            _say(bytes.fromhex(value), 2)
        case "stderr-flood":
            for number in range(int(value)):
                _say(b"complaint %06d %s\n" % (number, b"x" * 80), 2)
        case "sleep":
            time.sleep(float(value))
        case "until":
            while not Path(value).exists():
                time.sleep(0.02)
        case "open":
            os.open(value, os.O_RDWR | os.O_CREAT)
        case "uninterruptible":
            _sleep_uninterruptibly()
        case "unreapable":
            _become_unreapable(Path(value))
        case "forever":
            time.sleep(FOREVER)
        case "ignore":
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        case "close":
            os.close(1)
        case "grandchild":
            _start_grandchild()
        case "daemon-grandchild":
            _start_grandchild(daemon=True)
        case "pid":
            _say(b"%d\n" % os.getpid())
        case "exit":
            os._exit(int(value))
        case "kill":
            os.kill(os.getpid(), int(value))
        case _:
            raise AssertionError(f"no step {step}")


def main(arguments: list[str]) -> None:
    """Perform the steps; `again` starts over."""
    steps = arguments[: arguments.index("-c")] if "-c" in arguments else arguments
    while True:
        for each in steps:
            if each == "again":
                break
            step, _, value = each.partition("=")
            _do(step, value)
        else:
            return


if __name__ == "__main__":
    main(sys.argv[1:])
