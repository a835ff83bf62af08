"""HTTP clients of a running exporter: formats, web configuration, addresses, and load."""

from __future__ import annotations

import gzip
import http.client
import json
import resource
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics import parser as open_metrics_parser
from prometheus_client.parser import text_string_to_metric_families

from tests.support import client_load
from tests.support.children import script
from tests.support.clients import Client, basic_auth, get
from tests.support.commands import run
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.network import has_ipv6
from tests.support.processes import thread_count
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder, bcrypt_hash

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
AUTHORIZATION = basic_auth("me", "secret")
USERS = {"me": bcrypt_hash("secret", 10)}
RELOAD_METRIC = "neuron_exporter_web_config_last_reload_successful"


@pytest.fixture
def folder(tmp_path: Path) -> WebConfigFolder:
    """A certificate authority, a server certificate, and a folder for configurations."""
    return WebConfigFolder(tmp_path)


@contextmanager
def protected(folder: WebConfigFolder, **sections: Any) -> Iterator[RunningExporter]:
    """Run an exporter with this web configuration until it has read a report."""
    config = {"source": simulated(), "prometheus": {"web_config_file": folder.write(**sections)}}
    with running_exporter(folder.folder, config, tls=folder.client_context()) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter


# Formats


def test_formats(tmp_path: Path) -> None:
    """Both formats have the same series, compressed or not; other paths return 404."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        with Client(exporter.port) as client:
            for path in ("/", "/metrics", "/healthz", "/readyz"):
                assert client.get(path, "HEAD").status == client.get(path).status
            missing = client.get("/api/v2")
            assert (missing.status, missing.body) == (
                404,
                b"not found; available: /, /-/healthy, /-/ready, /api/v1/snapshot, /debug/report, "
                b"/debug/threads, /healthz, /metrics, /readyz\n",
            )
            names = []
            for accept, kind, read in (
                ("*/*", "text/plain; version=0.0.4", text_string_to_metric_families),
                (OPEN_METRICS, OPEN_METRICS, open_metrics_parser.text_string_to_metric_families),
            ):
                plain = client.get("/metrics", accept=accept)
                compressed = client.get("/metrics", accept=accept, accept_encoding="gzip")
                for response in (plain, compressed):
                    assert response.headers["Content-Type"] == f"{kind}; charset=utf-8"
                    assert "Accept" in response.headers["Vary"]
                assert compressed.headers["Content-Encoding"] == "gzip"
                for text in (plain.body, gzip.decompress(compressed.body)):
                    names.append({s.name for family in read(text.decode()) for s in family.samples})
        assert names == [names[0]] * 4
        assert "neuron_exporter_up" in names[0]


def test_prometheus_with_tls_and_password(folder: WebConfigFolder, needs_prometheus: None) -> None:
    """A real Prometheus with password and client certificate scrapes OpenMetrics with units."""
    certificate, key = folder.authority.sign_client("scraper", "scraper.example")
    section = {**folder.mutual_tls, "client_allowed_sans": ["scraper.example"]}
    config = {
        "source": simulated(),
        "prometheus": {
            "web_config_file": folder.write(tls_server_config=section, basic_auth_users=USERS)
        },
    }
    with (
        running_exporter(folder.folder, config) as exporter,
        prometheus_server(
            folder.folder,
            exporter.url.removeprefix("https://"),
            interval="200ms",
            scheme="https",
            basic_auth={"username": "me", "password": "secret"},
            tls_config={
                "ca_file": str(folder.authority.file),
                "cert_file": str(certificate),
                "key_file": str(key),
            },
        ) as prometheus,
    ):
        wait_for(lambda: prometheus.value("count(neuroncore_utilization_ratio)") == 32)
        assert prometheus.value("up") == 1
        metadata = wait_for(lambda: prometheus.metadata("neuroncore_utilization_ratio"))
        assert (metadata["type"], metadata["unit"]) == ("gauge", "ratio")
        assert prometheus.metadata("neuron_executions")["type"] == "counter"
        assert prometheus.value("count(system_vcpu_count)") == 1


# The web configuration


def test_web_config_reload(folder: WebConfigFolder) -> None:
    """A new password is applied; an invalid file is logged once, shown in a metric, and ignored."""
    with protected(folder, tls_server_config=folder.tls, basic_auth_users=USERS) as exporter:
        assert exporter.get("/healthz")[0] == 401
        assert exporter.get("/healthz", Authorization=AUTHORIZATION) == (200, "ok\n")

        def reload_status(authorization: str) -> str:
            _, text = exporter.get("/metrics", Authorization=authorization)
            return next(line for line in text.splitlines() if line.startswith(RELOAD_METRIC))

        assert reload_status(AUTHORIZATION) == f"{RELOAD_METRIC} 1.0"
        folder.path.write_text("tls_server_config: {cert_file: server.pem, key_file: gone.key}")
        exporter.wait_for_event("web_config_reload_rejected")
        assert reload_status(AUTHORIZATION) == f"{RELOAD_METRIC} 0.0"

        new = basic_auth("me", "new")
        folder.write(tls_server_config=folder.tls, basic_auth_users={"me": bcrypt_hash("new")})
        wait_for(lambda: exporter.get("/healthz", Authorization=new)[0] == 200)
        assert exporter.get("/healthz", Authorization=AUTHORIZATION)[0] == 401
        assert reload_status(new) == f"{RELOAD_METRIC} 1.0"
        (rejection,) = exporter.events("web_config_reload_rejected")
        assert "key_file: cannot be read: No such file" in rejection["problem"]
        assert "hunter" not in str(exporter.raw_log)
        assert exporter.stop() == 0


def test_check_reads_web_config(folder: WebConfigFolder) -> None:
    config = folder.folder / "exporter.yaml"
    web = folder.write(tls_server_config={**folder.tls, "min_version": "SSL3"}, rate_limit={})
    config.write_text(yaml.safe_dump({"prometheus": {"web_config_file": web}}))
    rejected = run("check", "--config", str(config))
    assert rejected.status == 2
    place = f"{config}:2: prometheus.web_config_file: {web}: "
    assert f"{place}tls_server_config.min_version: allowed are TLS12, TLS13" in rejected.err
    assert f"{place}rate_limit: is not supported" in rejected.err
    assert run("run", "--config", str(config)).status == 2

    folder.write(tls_server_config=folder.tls, basic_auth_users=USERS)
    accepted = run("check", "--config", str(config))
    assert accepted.status == 0
    assert "web: TLS and passwords" in accepted.out


@pytest.mark.parametrize("is_inline", [False, True])
def test_key_that_every_user_can_read(folder: WebConfigFolder, is_inline: bool) -> None:
    """`check`, `doctor` and the log say so; a right of the group draws no remark."""
    config = folder.folder / "exporter.yaml"
    key = folder.folder / "server.key"
    inline = {"cert_file": "server.pem", "key": key.read_text()}
    web = folder.write(tls_server_config=inline if is_inline else folder.tls)
    file = folder.path if is_inline else key
    document = {"prometheus": {"listen": "127.0.0.1:0", "web_config_file": web}}
    config.write_text(yaml.safe_dump(document))
    name = "key" if is_inline else "key_file"
    remark = f"{web}: tls_server_config.{name}: every user of the machine can read {file} (mode 06"
    for mode, is_remarked in ((0o600, False), (0o640, False), (0o644, True), (0o604, True)):
        file.chmod(mode)
        assert (remark in run("check", "--config", str(config)).out) is is_remarked
    assert remark in " ".join(run("doctor", "--config", str(config)).out.split())
    with running_exporter(folder.folder, {"source": simulated(), **document}) as exporter:
        exporter.wait_for_event("started")
        assert remark in str(exporter.events("setting_doubtful"))


# Addresses


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_several_addresses(tmp_path: Path) -> None:
    listen = ["127.0.0.1:0", "[::1]:0", ":0"]
    config = {"source": simulated(), "prometheus": {"listen": listen}}
    with running_exporter(tmp_path, config) as exporter:
        started = exporter.wait_for_event("started")
        assert started["url"] == started["urls"][0]
        assert len(started["urls"]) == 3
        hosts, ports = zip(*(each.rpartition(":")[::2] for each in started["listen"]), strict=True)
        assert hosts == ("127.0.0.1", "[::1]", "")
        assert ports == tuple(url.rpartition(":")[2] for url in started["urls"])
        for url in started["urls"]:
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()


# Many clients


def test_no_free_descriptor(tmp_path: Path) -> None:
    """A new connection displaces the one that has waited longest."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter, ExitStack() as stack:
        exporter.wait_for_event("source_state", state="ok")
        pid = exporter.process.pid
        idle = [stack.enter_context(Client(exporter.port)) for _ in range(3)]
        for each in idle:
            assert each.get("/healthz").status == 200
        used = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
        free = min(set(range(1000)) - used)
        _, hard_limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard_limit))

        # A descriptor that was in use for a moment while they were listed leaves room for one more.
        for _ in range(2):
            newcomer = stack.enter_context(Client(exporter.port))
            assert newcomer.get("/healthz").status == 200
            if select.select([idle[0].socket], [], [], 5)[0]:
                break
        assert idle[0].closed()
        assert idle[2].get("/healthz").status == 200


@contextmanager
def under_load(
    exporter: RunningExporter, folder: WebConfigFolder
) -> Iterator[subprocess.Popen[str]]:
    """Run many clients in a separate process."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.client_load"),
            *(str(exporter.port), str(folder.authority.file), "me", "secret"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"{client_load.STARTED}\n"
        yield process
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def test_scrapes_under_load(folder: WebConfigFolder) -> None:
    """Among a hundred scrapers, slow readers, half-open connections and incomplete handshakes, no
    scrape fails, and the number of threads is bounded."""
    tls = folder.client_context()
    headers = {"Authorization": AUTHORIZATION, "Accept": OPEN_METRICS, "Accept_Encoding": "gzip"}

    def scrape() -> None:
        response = get(exporter.port, "/metrics", tls=tls, **headers)
        assert response.status == 200
        assert b"neuroncore_utilization_ratio" in gzip.decompress(response.body)

    with protected(folder, tls_server_config=folder.tls, basic_auth_users=USERS) as exporter:

        def count() -> int:
            return thread_count(exporter.process.pid)

        scrape()
        wait_for(lambda: count() == IDLE_THREADS)
        threads = []
        with under_load(exporter, folder):
            wait_for(lambda: count() > IDLE_THREADS + 16)
            for _ in range(60):
                scrape()
                threads.append(count())
        assert max(threads) <= IDLE_THREADS + 32 + ENDING_THREADS
        wait_for(lambda: count() == IDLE_THREADS)
        scrape()


IDLE_THREADS = 6
"""Threads without connections: main, reader, stderr drain, http, output, hardware."""

ENDING_THREADS = 4
"""Workers that have ended still count as threads for some microseconds."""


def test_waiting_for_a_report(tmp_path: Path) -> None:
    """Only one request may wait for a report; others get 503, and probes are answered."""
    monitor = script(tmp_path / "monitor", "exec sleep infinity")
    with running_exporter(tmp_path, {"source": {"command": [str(monitor)]}}) as exporter:
        port = exporter.port
        statuses: list[int] = []

        def request_report() -> None:
            # There are more clients than connections, so some get no response.
            with suppress(OSError), Client(port) as client:
                statuses.append(client.get("/debug/report").status)

        clients = [threading.Thread(target=request_report, daemon=True) for _ in range(40)]
        for thread in clients:
            thread.start()
        wait_for(lambda: len(statuses) >= 20)
        assert set(statuses) == {503}
        assert exporter.get("/healthz")[0] == 200
        assert exporter.stop() == 0


def test_report_is_masked(tmp_path: Path) -> None:
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        status, text = exporter.get("/debug/report")
        assert status == 200
        assert json.loads(text)["neuron_runtime_data"]
        # /debug/report returns the line that is read next, which may precede its samples.
        family = wait_for(lambda: exporter.families().get("system_memory_total_bytes"))
        assert family.samples[0].labels["instance_id"] not in text
