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
from collections.abc import Iterator, Mapping, Sequence
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
        """Return the result of an instant query."""
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def over(self, expression: str, seconds: float, step: float) -> list[dict[str, Any]]:
        """Return the result of a range query over the last seconds."""
        now = time.time()
        result: list[dict[str, Any]] = self._get(
            "query_range", query=expression, start=f"{now - seconds}", end=f"{now}", step=f"{step}"
        )["result"]
        return result

    def label_values(self, label: str, series: str) -> list[str]:
        """Return the values of a label in these series."""
        return list(self._get(f"label/{label}/values", **{"match[]": series}))

    def metadata(self, family: str) -> dict[str, str]:
        """Return type, help and (with OpenMetrics) unit of a metric family."""
        found = self._get("targets/metadata", metric=family)
        return found[0] if found else {}

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule with the result of its last evaluation."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, path: str, **parameters: str) -> Any:
        text = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{text}", timeout=60) as response:  # noqa: S310
            document = json.load(response)
        assert document["status"] == "success", document
        return document["data"]

    def value(self, expression: str) -> float | None:
        """Return the value of a query with at most one result; None if there is none."""
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
    """Run a Prometheus that scrapes these targets (HOST:PORT), and wait for its first scrapes.

    `scrape` is added to the job's configuration: TLS, passwords.
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
        wait_for(lambda: _answers(f"{url}/-/ready"))
        server = Prometheus(url)
        wait_for(lambda: len(server.query("up")) == len(targets))
        yield server
    finally:
        _end(process)


class Alertmanager:
    """A running Alertmanager."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def alerts(self, *labels: Mapping[str, str]) -> Iterator[Sequence[Mapping[str, str]]]:
        """Fire alerts with these labels, and end them."""
        self._post([{"labels": each} for each in labels])
        wait_for(lambda: all(self._find(each) for each in labels))
        yield labels
        ended = "2000-01-01T00:00:00Z"
        self._post([{"labels": each, "startsAt": ended, "endsAt": ended} for each in labels])
        wait_for(lambda: not any(self._find(each) for each in labels))

    def inhibited(self, labels: Mapping[str, str]) -> bool:
        """Return whether other alerts inhibit the one with these labels."""
        (alert,) = self._find(labels)
        return bool(alert["status"]["inhibitedBy"])

    def wait_until_inhibited(self, labels: Mapping[str, str]) -> None:
        """Wait for Alertmanager to read an alert that it has received."""
        wait_for(lambda: self.inhibited(labels))

    def _find(self, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=60) as response:  # noqa: S310
            return [alert for alert in json.load(response) if alert["labels"] == labels]

    def _post(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/v2/alerts",
            json.dumps(alerts).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()  # noqa: S310


@contextmanager
def alertmanager(folder: Path, config: Path) -> Iterator[Alertmanager]:
    """Run an Alertmanager without peers."""
    process = subprocess.Popen(
        [
            "prometheus-alertmanager",
            f"--config.file={config}",
            f"--storage.path={folder}",
            "--web.listen-address=127.0.0.1:0",
            "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        address = _find_in(process, rb'msg="Listening on".* address=(\S+)')
        url = f"http://{address}"
        wait_for(lambda: _answers(f"{url}/-/ready"))
        yield Alertmanager(url)
    finally:
        _end(process)


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto in server mode, and yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    try:
        url = _find_in(process, rb"Running on (http://\S+)")
        wait_for(lambda: _answers(f"{url}/moto-api/data.json"))
        yield url
    finally:
        _end(process)


LOCALSTACK = ROOT / ".localstack" / "bin" / "python"
"""Interpreter that `make localstack` installs, in an environment of its own with old libraries."""


@contextmanager
def localstack_server(folder: Path) -> Iterator[str]:
    """Run LocalStack with CloudWatch, which evaluates alarms, and CloudFormation; yield its URL."""
    with socket.socket() as free:  # it does not report the port that it binds
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    process = subprocess.Popen(
        [LOCALSTACK, "-m", "localstack.runtime.main"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(
            GATEWAY_LISTEN=address,
            SERVICES="cloudwatch,cloudformation,s3,ssm,sts",
            FILESYSTEM_ROOT=str(folder),  # otherwise metrics outlive their stack
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
    """Return the first match of the pattern's group in the log; a thread drains the rest."""
    assert process.stderr is not None
    log = b""
    for line in process.stderr:
        log += line
        match = re.search(pattern, line)
        if match:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return match[1].decode()
    raise AssertionError(f"the server ended: {log.decode()}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 (loopback)
            return bool(response.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stderr is not None
    process.stderr.close()
