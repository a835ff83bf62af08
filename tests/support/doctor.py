"""Run the doctor, on this machine or in a view of it with Neuron devices."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from neuron_exporter.config import Override, load
from neuron_exporter.doctor import owners
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.identity.owners.container_logs import ContainerLogProvider
from neuron_exporter.identity.owners.pod_labels import PodLabelProvider
from neuron_exporter.pipeline import owners as owner_factory
from neuron_exporter.pipeline.build import build
from neuron_exporter.pipeline.identity import make_identity
from tests.support.commands import shell_environment
from tests.support.exporter import EXPORTER, RunningExporter, running_exporter

GOOD = (1, 3)
"""Device number of a device that can be opened (/dev/null)."""

GONE = (4095, 0)
"""Device number without a driver."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "geheim",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
"""Credentials for the endpoints of the tests, and no shared files."""

_NOT_ALLOWED = 77
WITH_FEW_RIGHTS = (
    *("setpriv", "--inh-caps", "-all"),
    *("--bounding-set", "-dac_override,-dac_read_search,-sys_ptrace"),
)
"""Command prefix: root that file modes apply to, and that cannot read other processes' files."""

NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def make_context(environment: Mapping[str, str] | None = None, **settings: Any) -> Context:
    """Return a context after loading these settings, given by their dotted keys ("__" for ".")."""
    environment = environment or {}
    overrides = [Override("test", key.replace("__", "."), value) for key, value in settings.items()]
    loaded = load(None, {}, overrides)
    pipeline = build(loaded, environment=environment)
    identity, _ = make_identity(loaded.config, environment)
    return Context(environment, loaded=loaded, pipeline=pipeline, identity=identity)


def unknown_machine(**variables: str) -> Context:
    """Return the context of an unknown machine with these environment variables."""
    return make_context(
        variables,
        cloudwatch__enabled=True,
        cloudwatch__dimension_sets=[["InstanceId"], ["ClusterName"], ["InstanceName"]],
    )


def hide_kubernetes(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Look in this folder, which does not exist, for what Kubernetes keeps on a machine."""
    for module in (owners, owner_factory):
        monkeypatch.setattr(module, "DEFAULT_KUBELET_SOCKET", str(folder / "kubelet.sock"))
    in_folder = {
        "ContainerLogProvider": partial(ContainerLogProvider, folder),
        "PodLabelProvider": partial(PodLabelProvider, account=folder),
    }
    for name, provider in in_folder.items():
        monkeypatch.setattr(owner_factory, name, provider)


def seen_with(findings: Iterable[Finding], verdict: Verdict) -> list[str]:
    """Return what was seen by the findings with this verdict."""
    return [finding.seen for finding in findings if finding.verdict is verdict]


def field(findings: list[Finding], name: str) -> Finding:
    """Return the finding about a field."""
    (found,) = [each for each in findings if each.seen.startswith(f"{name} is ")]
    return found


class DoctorResult(NamedTuple):
    """Exit status, findings and stderr of one run."""

    status: int
    findings: list[Finding]
    err: str

    def about(self, subject: str, verdict: str = "") -> list[Finding]:
        """Return the findings about a subject, optionally only those with a verdict."""
        return [
            each
            for each in self.findings
            if each.subject == subject and verdict in ("", each.verdict)
        ]


class NeuronMachine:
    """View of this machine with Neuron devices and a driver, and without DMI data, in its own
    namespaces like a container.

    `users` processes have the first device open; `mode` is the mode of the device files. `sysfs` is
    a tree that is mounted read-only in place of the driver's files.
    """

    def __init__(
        self,
        devices: Mapping[str, tuple[int, int]],
        driver: str | None = "2.24.7.0",
        users: int = 0,
        mode: str = "660",
        sysfs: Path | None = None,
    ) -> None:
        nodes = [
            f"mknod -m {mode} /dev/{name} c {major} {minor}"
            for name, (major, minor) in {**devices, **_STANDARD_DEVICES}.items()
        ]
        module = [
            "mount -t tmpfs none /sys/module",
            *(["mkdir /sys/module/neuron"] if driver else []),
            *([f"echo {driver} > /sys/module/neuron/version"] if driver else []),
        ]
        first = next(iter(devices), "null")
        dmi = "/sys/devices/virtual/dmi/id"
        hide_dmi = f"{{ [ ! -d {dmi} ] || mount -t tmpfs none {dmi}; }}"
        root = "/sys/devices/virtual/neuron_device"
        driver_files = [
            f"mount -t tmpfs none {os.path.dirname(root)}",
            f"mkdir {root}",
            f"mount --bind -o ro {sysfs} {root}",
        ]
        prepare = [
            "mount -t tmpfs none /dev",
            *nodes,
            "chmod 666 /dev/null",
            *module,
            *(driver_files if sysfs is not None else [hide_dmi]),
        ]
        held = [f"sleep 600 9< /dev/{first} > /dev/null 2>&1 &"] * users
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
        """Run a command there; skip the test if the view cannot be made."""
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


_STANDARD_DEVICES = {"null": (1, 3), "zero": (1, 5), "urandom": (1, 9), "random": (1, 8)}


def doctor(
    *flags: str,
    machine: NeuronMachine | None = None,
    within: Sequence[str] = (),
    **environment: str,
) -> DoctorResult:
    """Run `neuron-exporter doctor --json FLAGS` on this machine, or in a view of it. `within` is a
    command that runs the command behind it."""
    command = [*within, *EXPORTER, "doctor", "--json", *flags]
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
    return DoctorResult(done.returncode, findings, done.stderr.decode())


def write(folder: Path, **sections: Any) -> Path:
    """Write a configuration file with these sections."""
    path = folder / "exporter.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


def free_address() -> str:
    """Return a free address, which the doctor needs before the exporter has chosen one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@contextmanager
def beside(folder: Path, config: dict[str, Any], **environment: str) -> Iterator[RunningExporter]:
    """Run an exporter with this configuration, at its own address, until it reads reports."""
    document = {**config, "prometheus": {"listen": free_address()}}
    with running_exporter(folder, document, environment=environment) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter
