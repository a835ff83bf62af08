"""Real servers: Prometheus, moto in server mode, and LocalStack."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.support.exporter import clean_environment
from tests.support.paths import ROOT
from tests.support.waiting import wait_for


class Prometheus:
    """A running Prometheus server."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query, now."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def over(self, expression: str, seconds: float, step: float) -> list[dict[str, Any]]:
        """The result of a range query over the last seconds."""
        now = time.time()
        result: list[dict[str, Any]] = self._get(
            "query_range", query=expression, start=f"{now - seconds}", end=f"{now}", step=f"{step}"
        )["result"]
        return result

    def label_values(self, label: str, series: str) -> list[str]:
        """The values of a label of some series."""
        return list(self._get(f"label/{label}/values", **{"match[]": series}))

    def metadata(self, family: str) -> dict[str, str]:
        """What the target said of a family: type, help, and unit if it spoke OpenMetrics."""
        found = self._get("targets/metadata", metric=family)
        return found[0] if found else {}

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with what became of it when it was last evaluated."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> Any:
        text = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{text}", timeout=10) as answer:  # noqa: S310
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def value(self, expression: str) -> float | None:
        """The value of a query with at most one result."""
        result = self.query(expression)
        assert len(result) <= 1, result
        return float(result[0]["value"][1]) if result else None


@contextmanager
def prometheus_server(
    folder: Path,
    *targets: str,
    interval: str = "1s",
    rule_files: Sequence[str] = (),
    **scrape: Any,
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes these targets (HOST:PORT), and has begun to.

    `scrape` is more of the job's configuration: TLS, passwords.
    """
    config = folder / "prometheus.yml"
    config.write_text(
        yaml.safe_dump(
            {
                "global": {
                    "scrape_interval": interval,
                    "scrape_timeout": interval,
                    "evaluation_interval": interval,
                },
                "rule_files": [*rule_files],
                "scrape_configs": [
                    {
                        "job_name": "neuron",
                        "static_configs": [{"targets": list(targets)}],
                        **scrape,
                    }
                ],
            }
        )
    )
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        address = _find_in(process, rb'msg="Listening on".* address=(\S+)')
        url = f"http://{address}"
        wait_for(lambda: _answers(f"{url}/-/ready"), 30)
        server = Prometheus(url)
        wait_for(lambda: len(server.query("up")) == len(targets), 30)
        yield server
    finally:
        _end(process)


@contextmanager
def moto_server() -> Iterator[str]:
    """moto in server mode; gives its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    try:
        url = _find_in(process, rb"Running on (http://\S+)")
        wait_for(lambda: _answers(f"{url}/moto-api/data.json"), 30)
        yield url
    finally:
        _end(process)


LOCALSTACK = ROOT / ".localstack" / "bin" / "python"
"""Where `make localstack` puts it: an environment of its own, since it needs older libraries."""


@contextmanager
def localstack_server(folder: Path) -> Iterator[str]:
    """LocalStack with CloudWatch, which evaluates alarms, and CloudFormation; gives its address."""
    with socket.socket() as free:  # it cannot say which port it was given
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [LOCALSTACK, "-m", "localstack.runtime.main"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(
            GATEWAY_LISTEN=address,
            SERVICES="cloudwatch,cloudformation,s3,ssm,sts",
            FILESYSTEM_ROOT=str(folder),  # a stack's metrics outlive it otherwise
            OVERRIDE_IN_DOCKER="0",
            DNS_ADDRESS="0",
            DISABLE_EVENTS="1",
            SKIP_SSL_CERT_DOWNLOAD="1",
        ),
    )
    assert process.stderr is not None
    reading = threading.Thread(target=process.stderr.read, daemon=True)
    reading.start()
    try:
        url = f"http://{address}"
        wait_for(lambda: _answers(f"{url}/_localstack/health"), 120)  # its first start compiles
        yield url
    finally:
        _end(process)


def _find_in(process: subprocess.Popen[bytes], pattern: bytes) -> str:
    """What the pattern's group matches in the process's log, which is read on to its end."""
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said += line
        match = re.search(pattern, line)
        if match:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return match[1].decode()
    raise AssertionError(f"it ended: {said.decode()}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 (loopback)
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stderr is not None
    process.stderr.close()
