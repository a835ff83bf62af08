"""The doctor as a user calls it, and the machines that it is called to."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from neuron_exporter.config import Given, load
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.pipeline.build import build
from neuron_exporter.pipeline.identity import identify
from tests.support.commands import shell_environment
from tests.support.exporter import EXPORTER

GOOD = (1, 3)
"""Major and minor number of a device that can be opened: that of /dev/null."""

GONE = (4095, 0)
"""Those of a device that no driver has."""

_NOT_ALLOWED = 77
WITH_FEW_RIGHTS = (
    *("setpriv", "--inh-caps", "-all"),
    *("--bounding-set", "-dac_override,-dac_read_search,-sys_ptrace"),
)
"""Before a command: root to whom modes of files apply, and who sees nobody's files."""

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def case(environment: Mapping[str, str] | None = None, **settings: Any) -> Case:
    """What is known when the configuration has been read: these settings, by their dotted keys."""
    environment = environment or {}
    given = [Given("test", key.replace("__", "."), value) for key, value in settings.items()]
    loaded = load(None, {}, given)
    pipeline = build(loaded, environment=environment)
    identity, _ = identify(loaded.config, environment)
    return Case(environment, loaded=loaded, pipeline=pipeline, identity=identity)


def of(findings: Iterable[Finding], verdict: Verdict) -> list[str]:
    """What was seen, of the findings with this verdict."""
    return [finding.seen for finding in findings if finding.verdict is verdict]


class Told(NamedTuple):
    """What the doctor said, and its exit status."""

    status: int
    findings: list[Finding]
    err: str

    def of(self, subject: str, verdict: str = "") -> list[Finding]:
        """The findings on a subject, all or those with a verdict."""
        return [
            each
            for each in self.findings
            if each.subject == subject and verdict in ("", each.verdict)
        ]


class NeuronMachine:
    """A view of this machine with Neuron devices and a driver, and of nobody's firmware, in
    namespaces of its own, as a container has them.

    `holders` processes have the first device open; `mode` is that of the devices' files.
    """

    def __init__(
        self,
        devices: Mapping[str, tuple[int, int]],
        driver: str | None = "2.24.7.0",
        holders: int = 0,
        mode: str = "660",
    ) -> None:
        nodes = [
            f"mknod -m {mode} /dev/{name} c {major} {minor}"
            for name, (major, minor) in {**devices, **_USUAL}.items()
        ]
        module = [
            "mount -t tmpfs none /sys/module",
            *(["mkdir /sys/module/neuron"] if driver else []),
            *([f"echo {driver} > /sys/module/neuron/version"] if driver else []),
        ]
        first = next(iter(devices), "null")
        dmi = "/sys/devices/virtual/dmi/id"
        nobodys = f"{{ [ ! -d {dmi} ] || mount -t tmpfs none {dmi}; }}"
        prepare = [
            "mount -t tmpfs none /dev",
            *nodes,
            "chmod 666 /dev/null",
            *module,
            nobodys,
        ]
        held = [f"sleep 600 9< /dev/{first} > /dev/null 2>&1 &"] * holders
        self._script = "\n".join(
            [
                f"{{ {' && '.join(prepare)}; }} 2> /dev/null || exit {_NOT_ALLOWED}",
                *(f'{line} pids="$pids $!"' for line in held),
                '"$@"; status=$?',
                '[ -z "$pids" ] || kill $pids',
                "exit $status",
            ]
        )

    def run(self, command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
        """Run a command there; the test is skipped where no such view can be made."""
        done = subprocess.run(
            [*NAMESPACES, "sh", "-c", self._script, "sh", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=shell_environment(**environment),
            timeout=60,
            check=False,
        )
        if done.returncode == _NOT_ALLOWED or done.stderr.startswith(b"unshare: "):
            pytest.skip("the tests may not mount (they are not run by root)")
        return done


_USUAL = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9), "random": (1, 8)}


def doctor(*flags: str, machine: NeuronMachine | None = None, **environment: str) -> Told:
    """Run `neuron-exporter doctor --json FLAGS` on this machine, or on another view of it."""
    command = [*EXPORTER, "doctor", "--json", *flags]
    if machine is not None:
        done = machine.run(command, **environment)
    else:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=shell_environment(**environment),
            timeout=60,
            check=False,
        )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    findings = [
        Finding(each["subject"], Verdict(each["verdict"]), each["seen"], each["fix"])
        for each in json.loads(done.stdout)
    ]
    return Told(done.returncode, findings, done.stderr.decode())


def write(folder: Path, **sections: Any) -> Path:
    """A configuration file with these sections."""
    path = folder / "exporter.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path
