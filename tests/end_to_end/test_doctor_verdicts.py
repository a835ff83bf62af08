"""Each check of the doctor is part of its run, and its verdict decides the exit status."""

from __future__ import annotations

import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import LINE
from tests.support.doctor import (
    CREDENTIALS,
    GONE,
    GOOD,
    NAMESPACES,
    NeuronMachine,
    doctor,
    free_address,
    write,
)
from tests.support.http import serving

REPORTS = {"command": ["sh", "-c", f"echo '{LINE.decode().strip()}'\n" * 2 + "exec sleep 600"]}


class OldClock(BaseHTTPRequestHandler):
    """An endpoint whose clock shows another year."""

    def do_GET(self) -> None:
        """Reject the request."""
        self.send_response_only(403)
        self.send_header("Date", "Fri, 02 Jan 2015 00:00:00 GMT")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.mark.parametrize(
    ("subject", "config", "variables"),
    [
        ("", {}, {}),
        ("configuration", {"log": {"level": "loud"}}, {}),
        ("exporter", {"prometheus": {"listen": "{moto}"}}, {}),
        ("source", {"source": {"command": ["false"]}}, {}),
        ("driver", {"identity": {"instance_type": "inf1.xlarge"}}, {}),
        ("devices", {}, {}),
        ("cloudwatch", {"cloudwatch": {"dimension_sets": [["AccountId"]]}}, {}),
        ("cloudwatch", {"cloudwatch": {"endpoint_url": "http://127.0.0.1:1"}}, {}),
        ("cloudwatch", {}, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}),
        ("clock", {"cloudwatch": {"endpoint_url": "http://{old_clock}"}}, {}),
        ("spool", {"cloudwatch": {"spool": {"path": "/proc/spool.db"}}}, {}),
    ],
)
def test_one_failure_changes_the_exit_status(
    tmp_path: Path, moto: str, subject: str, config: dict[str, Any], variables: dict[str, str]
) -> None:
    """On a machine that is otherwise as it should be, for each subject that can fail."""
    identity = {"instance_id": "i-0123456789abcdef0", "instance_type": "trn1.2xlarge"}
    cloudwatch = {
        "enabled": True,
        "endpoint_url": "http://{moto}",
        "region": "us-west-2",
        "spool": {"path": str(tmp_path / "spool.db")},
    }
    path = write(
        tmp_path,
        **{
            "source": REPORTS,
            "prometheus": {"listen": free_address()},
            **config,
            "identity": identity | config.get("identity", {}),
            "cloudwatch": cloudwatch | config.get("cloudwatch", {}),
        },
    )
    device = GONE if subject == "devices" else GOOD
    with serving(OldClock) as old_clock:
        addresses = {"moto": moto, "old_clock": old_clock}
        text = path.read_text()
        for name, url in addresses.items():
            text = text.replace(f"{{{name}}}", url.removeprefix("http://"))
        path.write_text(text)
        result = doctor(
            *("--config", str(path)),
            machine=NeuronMachine({"neuron0": device}),
            **{**CREDENTIALS, "AWS_ENDPOINT_URL_STS": moto, **variables},
        )
    failures = {each.subject for each in result.findings if each.verdict == "failed"}
    assert failures == ({subject} if subject else set())
    assert result.status == bool(subject)


@pytest.mark.parametrize(
    ("kind", "limit", "verdict"),
    [
        ("simulator", 64, "warning"),
        ("simulator", 96, "ok"),
        ("neuron-monitor", 96, "warning"),
        ("neuron-monitor", 352, "ok"),
    ],
)
def test_memory_limit_of_a_container(tmp_path: Path, kind: str, limit: int, verdict: str) -> None:
    """The exporter needs 96 MiB and neuron-monitor 256; a limit does not change the status."""
    memory = (
        f"mount -t tmpfs none /sys/fs/cgroup && cd /sys/fs/cgroup && mkdir memory "
        f"&& echo {limit << 20} | tee memory.max > memory/memory.limit_in_bytes "
        '&& echo "oom_kill 2" > memory.events && exec "$@"'
    )
    within = [*NAMESPACES, "sh", "-c", memory, "sh"]
    if subprocess.run([*within, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the tests may not mount (they are not run by root)")
    source = REPORTS if kind == "neuron-monitor" else {}
    path = write(tmp_path, source={"kind": kind, **source}, prometheus={"listen": free_address()})
    result = doctor("--config", str(path), within=within)
    compared, killed = result.about("memory")
    need = 96 if kind == "simulator" else 352
    needed = f"up to {need} MiB are needed on the largest machine"
    assert compared.seen == f"the limit is {limit} MiB; {needed}"
    assert compared.verdict == verdict
    assert killed.seen.startswith("the kernel has killed 2 processes of this cgroup")
    assert killed.verdict == "warning"
    assert all(each.subject != "memory" for each in result.findings if each.verdict == "failed")
