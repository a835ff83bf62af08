"""Whoever reads the exporter over HTTP: in which format, over what, and with how many others."""

from __future__ import annotations

import gzip
import http.client
import json
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.openmetrics import parser as open_metrics_parser
from prometheus_client.parser import text_string_to_metric_families

from tests.support import crowd
from tests.support.children import script
from tests.support.clients import Client, basic, get
from tests.support.commands import run
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.processes import thread_count
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for
from tests.support.web_config import WebFolder, hashed

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
ME = basic("me", "secret")
USERS = {"me": hashed("secret", 10)}
GOOD = "neuron_exporter_web_config_last_reload_successful"


@pytest.fixture
def folder(tmp_path: Path) -> WebFolder:
    """An authority, a server's certificate, and a place for configurations."""
    return WebFolder(tmp_path)


@contextmanager
def protected(folder: WebFolder, **sections: Any) -> Iterator[RunningExporter]:
    """A running exporter with this web configuration, which has read a report."""
    config = {"source": simulated(), "prometheus": {"web_config_file": folder.write(**sections)}}
    with running_exporter(folder.folder, config, tls=folder.client()) as exporter:
        exporter.wait_for_event("source_state", state="ok")
        yield exporter


# Formats


def test_both_formats_are_served_plain_and_packed(tmp_path: Path) -> None:
    """Every route has HEAD, every other path is a 404 that lists the routes, and /metrics says the
    same in both formats, packed or not."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        with Client(exporter.port) as client:
            for path in ("/", "/metrics", "/healthz", "/readyz"):
                assert client.get(path, "HEAD").status == client.get(path).status
            missing = client.get("/api/v2")
            assert (missing.status, missing.body) == (
                404,
                b"not found; there are /, /api/v1/snapshot, /debug/report, /debug/threads, "
                b"/healthz, /metrics, /readyz\n",
            )
            names = []
            for accept, kind, read in (
                ("*/*", "text/plain; version=0.0.4", text_string_to_metric_families),
                (OPEN_METRICS, OPEN_METRICS, open_metrics_parser.text_string_to_metric_families),
            ):
                plain = client.get("/metrics", accept=accept)
                packed = client.get("/metrics", accept=accept, accept_encoding="gzip")
                for answer in (plain, packed):
                    assert answer.headers["Content-Type"] == f"{kind}; charset=utf-8"
                    assert "Accept" in answer.headers["Vary"]
                assert packed.headers["Content-Encoding"] == "gzip"
                for text in (plain.body, gzip.decompress(packed.body)):
                    names.append({s.name for family in read(text.decode()) for s in family.samples})
        assert names == [names[0]] * 4
        assert "neuron_exporter_up" in names[0]


def test_prometheus_scrapes_open_metrics_with_tls_and_a_password(
    folder: WebFolder, needs_prometheus: None
) -> None:
    """A real Prometheus, with a password and a certificate of its own, reads OpenMetrics: it
    learns units; and it sees every core."""
    certificate, key = folder.authority.sign_client("scraper", "scraper.example")
    section = {**folder.mutual, "client_allowed_sans": ["scraper.example"]}
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
        about = wait_for(lambda: prometheus.metadata("neuroncore_utilization_ratio"))
        assert (about["type"], about["unit"]) == ("gauge", "ratio")
        assert prometheus.metadata("neuron_executions")["type"] == "counter"
        assert prometheus.value("count(system_vcpu_count)") == 1


# The web configuration


def test_a_web_configuration_is_followed(folder: WebFolder) -> None:
    """The running exporter takes a new password and a new certificate; of a bad file it says so in
    its log, once, and in a metric, and stays as it was."""
    with protected(folder, tls_server_config=folder.tls, basic_auth_users=USERS) as exporter:
        assert exporter.get("/healthz")[0] == 401
        assert exporter.get("/healthz", Authorization=ME) == (200, "ok\n")

        def good(authorization: str) -> str:
            _, text = exporter.get("/metrics", Authorization=authorization)
            return next(line for line in text.splitlines() if line.startswith(GOOD))

        assert good(ME) == f"{GOOD} 1.0"
        folder.path.write_text("tls_server_config: {cert_file: server.pem, key_file: gone.key}")
        exporter.wait_for_event("web_config_refused")
        assert good(ME) == f"{GOOD} 0.0"

        new = basic("me", "new")
        folder.write(tls_server_config=folder.tls, basic_auth_users={"me": hashed("new")})
        wait_for(lambda: exporter.get("/healthz", Authorization=new)[0] == 200)
        assert exporter.get("/healthz", Authorization=ME)[0] == 401
        assert good(new) == f"{GOOD} 1.0"
        (refusal,) = exporter.events("web_config_refused")
        assert "key_file: cannot be read: No such file" in str(refusal["problems"])
        assert "hunter" not in str(exporter.raw_log)
        assert exporter.stop() == 0


def test_check_tells_what_is_wrong_with_a_web_configuration(folder: WebFolder) -> None:
    """`check` reads the web configuration as `run` would, and tells its mistakes with their place;
    a good one is in the summary."""
    config = folder.folder / "exporter.yaml"
    web = folder.write(tls_server_config={**folder.tls, "min_version": "SSL3"}, rate_limit={})
    config.write_text(yaml.safe_dump({"prometheus": {"web_config_file": web}}))
    refused = run("check", "--config", str(config))
    assert refused.status == 2
    place = f"{config}:2: prometheus.web_config_file: {web}: "
    assert f"{place}tls_server_config.min_version: allowed are TLS12, TLS13" in refused.err
    assert f"{place}rate_limit: is not supported" in refused.err
    assert run("run", "--config", str(config)).status == 2

    folder.write(tls_server_config=folder.tls, basic_auth_users=USERS)
    accepted = run("check", "--config", str(config))
    assert accepted.status == 0
    assert "web: TLS and passwords" in accepted.out


# Addresses


def test_several_addresses_are_listened_on(tmp_path: Path) -> None:
    """A list of addresses is served on each; the log has the first and all."""
    listen = ["127.0.0.1:0", "[::1]:0", ":0"]
    config = {"source": simulated(), "prometheus": {"listen": listen}}
    with running_exporter(tmp_path, config) as exporter:
        started = exporter.wait_for_event("started")
        assert started["url"] == started["urls"][0]
        assert len(started["urls"]) == 3
        for url in started["urls"]:
            connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()


# The crowd


def test_without_descriptors_the_longest_wait_ends(tmp_path: Path) -> None:
    """Where the system gives no descriptor more, a newcomer is served in the place of the one that
    waited longest, and the one who accepts does not spin."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter, ExitStack() as stack:
        exporter.wait_for_event("source_state", state="ok")
        pid = exporter.process.pid
        idle = [stack.enter_context(Client(exporter.port)) for _ in range(3)]
        for each in idle:
            assert each.get("/healthz").status == 200
        held = {int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()}
        free = min(set(range(1000)) - held)
        _, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, most))

        newcomer = stack.enter_context(Client(exporter.port))
        assert newcomer.get("/healthz").status == 200
        assert idle[0].closed()
        assert idle[2].get("/healthz").status == 200


@contextmanager
def crowded(exporter: RunningExporter, folder: WebFolder) -> Iterator[subprocess.Popen[str]]:
    """A crowd that besieges the exporter, in a process of its own."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.support.crowd"),
            *(str(exporter.port), str(folder.authority.file), "me", "secret"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "everybody is here\n"
        yield process
    finally:
        process.stdin.close()
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_scrape_is_quick_in_a_crowd(folder: WebFolder) -> None:
    """Among a hundred scrapers, slow readers, half-open connections and silent clients of TLS,
    a scrape takes less than 50 ms in the median, none fails, and threads stay bounded.

    Each scrape has a connection of its own, with handshake, password and compression. One round of
    three has to be quick: what else runs on the machine may spoil a round, while a server that
    lets itself be held up spoils all.
    """
    assert (crowd.SCRAPERS, crowd.SILENT, crowd.HALF, crowd.SLOW) == (100, 40, 40, 20)
    tls = folder.client()
    headers = {"Authorization": ME, "Accept": OPEN_METRICS, "Accept_Encoding": "gzip"}

    def scrape() -> float:
        before = time.monotonic()
        answer = get(exporter.port, "/metrics", tls=tls, **headers)
        took = time.monotonic() - before
        assert answer.status == 200
        assert b"neuroncore_utilization_ratio" in gzip.decompress(answer.body)
        return took

    with protected(folder, tls_server_config=folder.tls, basic_auth_users=USERS) as exporter:
        scrape()
        wait_for(lambda: thread_count(exporter.process.pid) == QUIET)
        rounds: list[float] = []
        most = 0
        with crowded(exporter, folder):
            while len(rounds) < 3 and min(rounds, default=1.0) >= 0.05:
                took = []
                for _ in range(60):
                    time.sleep(0.02)
                    took.append(scrape())
                    most = max(most, thread_count(exporter.process.pid))
                rounds.append(statistics.median(took))
        assert min(rounds) < 0.05, rounds
        assert QUIET + 16 < most <= QUIET + 32 + LEAVING
        wait_for(lambda: thread_count(exporter.process.pid) == QUIET)
        scrape()


QUIET = 4
"""Threads without connections: main, reader, what the child says on standard error, http."""

LEAVING = 4
"""Workers that have ended are threads to the system for some microseconds more."""


def test_whoever_waits_for_a_report_holds_up_nobody(tmp_path: Path) -> None:
    """With a source that says nothing one may wait for its report, others are sent away at once:
    the probes of a machine whose driver is sick are answered however many ask."""
    monitor = script(tmp_path / "monitor", "exec sleep infinity")
    with running_exporter(tmp_path, {"source": {"command": [str(monitor)]}}) as exporter:
        port = exporter.port
        answers: list[int] = []

        def ask() -> None:
            # Of more than there are places, some are sent away without an answer.
            with suppress(OSError), Client(port) as client:
                answers.append(client.get("/debug/report").status)

        asking = [threading.Thread(target=ask, daemon=True) for _ in range(40)]
        for thread in asking:
            thread.start()
        wait_for(lambda: len(answers) >= 20, 5)
        assert set(answers) == {503}
        began = time.monotonic()
        assert exporter.get("/healthz")[0] == 200
        assert time.monotonic() - began < 2
        assert exporter.stop() == 0


def test_a_report_is_shown_without_names(tmp_path: Path) -> None:
    """The next report, as the support bundle has it."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        status, text = exporter.get("/debug/report")
        assert status == 200
        assert json.loads(text)["neuron_runtime_data"]
        instance = exporter.families()["system_memory_total_bytes"].samples[0].labels
        assert instance["instance_id"] not in text
