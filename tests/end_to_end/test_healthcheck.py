"""`healthcheck` against a running exporter, and its memory use."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.exporter import EXPORTER, clean_environment, running_exporter, simulated
from tests.support.supervised import own_directory
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for
from tests.support.web_config import WebConfigFolder, bcrypt_hash

RUN_DIRECTORY = "NEURON_EXPORTER_RUN_DIRECTORY"
LISTEN = "NEURON_EXPORTER__PROMETHEUS__LISTEN"


def check(*flags: str, **environment: str) -> tuple[int, str]:
    """Return exit status and output of a health check, which is one line in every case."""
    done = subprocess.run(
        [*EXPORTER, "healthcheck", *flags],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(**environment),
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0", ":0", "localhost:0"])
def test_address_from_run_directory(tmp_path: Path, address: str) -> None:
    run = {RUN_DIRECTORY: str(tmp_path)}
    config = {"source": simulated(), "prometheus": {"listen": address}}
    with running_exporter(tmp_path, config, environment=run) as exporter:
        url = exporter.url
        wait_for(lambda: (own_directory(tmp_path) / "url").exists())
        assert check(**run) == (0, f"healthy: {url}")
        assert exporter.stop() == 0
    assert not (own_directory(tmp_path) / "url").exists()
    # Another exporter may run on this machine, with the default address.
    assert "healthy: http://127.0.0.1:9415" in check(**run)[1]


def test_missing_run_directory(tmp_path: Path) -> None:
    run = {RUN_DIRECTORY: str(tmp_path / "missing")}
    with running_exporter(tmp_path, {"source": simulated()}, environment=run) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert exporter.stop() == 0


@pytest.mark.parametrize(
    "form", ["127.0.0.1:{}", "0.0.0.0:{}", ":{}", "['127.0.0.1:{}', '[::1]:1']"]
)
def test_address_from_environment(tmp_path: Path, form: str) -> None:
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        assert check(**{LISTEN: form.format(exporter.port)}) == (0, f"healthy: {exporter.url}")


def test_url_flag_has_precedence(tmp_path: Path) -> None:
    own = own_directory(tmp_path)
    own.mkdir()
    (own / "url").write_text("http://127.0.0.1:1\n")
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        elsewhere = {RUN_DIRECTORY: str(tmp_path), LISTEN: "127.0.0.1:1"}
        assert check("--url", exporter.url, **elsewhere)[0] == 0


def test_tls_without_authority(tmp_path: Path) -> None:
    web = WebConfigFolder(tmp_path)
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": web.write(tls_server_config=web.tls)},
    }
    run = {RUN_DIRECTORY: str(tmp_path)}
    with running_exporter(tmp_path, config, environment=run, tls=web.client_context()) as exporter:
        wait_for(lambda: (own_directory(tmp_path) / "url").exists())
        assert exporter.url.startswith("https://")
        assert check(**run) == (0, f"healthy: {exporter.url}")
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert check("--deep", **run)[0] == 0


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_client_certificate_required(tmp_path: Path, version: str) -> None:
    web = WebConfigFolder(tmp_path)
    tls = {**web.mutual_tls, "min_version": version, "max_version": version}
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": web.write(tls_server_config=tls)},
    }
    with running_exporter(tmp_path, config) as exporter:
        status, message = check("--url", exporter.url)
        assert (status, "nothing else checked" in message) == (0, True), message
        status, message = check("--deep", "--url", exporter.url)
        assert (status, "requires a client certificate" in message) == (1, True), message


def test_password_required(tmp_path: Path) -> None:
    web = WebConfigFolder(tmp_path)
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": web.write(basic_auth_users={"me": bcrypt_hash("a:b")})},
    }
    with running_exporter(tmp_path, config) as exporter:
        status, message = check("--url", exporter.url)
        assert (status, "nothing else checked" in message) == (0, True), message
        status, message = check("--deep", "--url", exporter.url)
        assert (status, "requires a password" in message) == (1, True), message
        port = exporter.port
        wait_for(lambda: check("--deep", "--url", f"http://me:a%3Ab@127.0.0.1:{port}")[0] == 0)
        assert "a%3Ab" not in check("--url", f"http://me:a%3Ab@127.0.0.1:{port}")[1]


def test_reload_that_turns_tls_on(tmp_path: Path) -> None:
    web = WebConfigFolder(tmp_path)
    config = {"source": simulated(), "prometheus": {"web_config_file": web.write()}}
    run = {RUN_DIRECTORY: str(tmp_path)}
    with running_exporter(tmp_path, config, environment=run):
        wait_for(lambda: check(**run)[0] == 0)
        web.write(tls_server_config=web.tls)
        wait_for(lambda: check(**run)[1].startswith("healthy: https://"))


def test_deep_with_failing_source(tmp_path: Path) -> None:
    config = {"source": {"command": ["/nonexistent/neuron-monitor"]}}
    with running_exporter(tmp_path, config) as exporter:
        assert check("--url", exporter.url)[0] == 0
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        status, message = check("--deep", "--url", exporter.url)
        assert (status, message) == (1, "unhealthy: the source is not up (missing_program)")


@pytest.mark.usefixtures("fake_credentials")
def test_deep_with_failing_sink(tmp_path: Path) -> None:
    with validating_endpoint() as front:
        front.down()
        config: dict[str, Any] = {
            "source": simulated(),
            "cloudwatch": {
                "enabled": True,
                "endpoint_url": front.url,
                "flush_interval": "1s",
                "region": "eu-west-1",
                "dimension_sets": [["InstanceType"]],
            },
        }
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        with running_exporter(tmp_path, config, environment=keys) as exporter:
            exporter.wait_for_value("neuron_exporter_up", 1)
            exporter.wait_for_value("neuron_exporter_sink_up", 0, sink="cloudwatch")
            message = "unhealthy: sink cloudwatch is not up"
            assert check("--deep", "--url", exporter.url) == (1, message)
            front.up()
            wait_for(lambda: check("--deep", "--url", exporter.url)[0] == 0)


def test_silent_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, message = check("--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert (status, message) == (1, "unhealthy: no response within 5 s")


@pytest.mark.parametrize(
    "answer",
    [
        b"rubbish",
        b"HTTP/1.1 500 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok",
        b"",
        b"\x15\x03\x01",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_invalid_response(scheme: str, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(9999)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        assert check("--url", f"{scheme}://127.0.0.1:{listening.getsockname()[1]}")[0] == 1
        server.join()


@pytest.mark.parametrize("url", ["127.0.0.1:9415", "ftp://127.0.0.1", "http://", "http://a:b"])
def test_invalid_url(url: str) -> None:
    done = subprocess.run(
        [*EXPORTER, "healthcheck", "--url", url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"must be a URL such as http://127.0.0.1:9415 (got '{url}')" in done.stderr


COST = """
import sys
from neuron_exporter.cli.main import main
assert main(["healthcheck", "--url", sys.argv[1], *sys.argv[2:]]) == 0
status = open("/proc/self/status").read()
print(status.split("VmHWM:")[1].split()[0], *sorted(sys.modules))
"""


@pytest.mark.parametrize("flags", [(), ("--deep",)])
def test_memory_and_imports(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """The engine runs it every minute within the container's memory limit."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        command = [sys.executable, "-c", COST, exporter.url, *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        resident, *loaded = done.stdout.splitlines()[-1].split()
        libraries = {"pydantic", "yaml", "structlog", "botocore", "msgspec", "prometheus_client"}
        assert not {name.partition(".")[0] for name in loaded} & libraries
        assert {name for name in loaded if name.startswith("neuron_exporter.")} == {
            *(f"neuron_exporter.cli.{name}" for name in ("common", "healthcheck", "main")),
            *(f"neuron_exporter.cli.{name}" for name in ("registry", "generators")),
            *(
                f"neuron_exporter.{name}"
                for name in ("address_file", "run_directory", "cli", "output")
            ),
            *(f"neuron_exporter.{name}" for name in ("daemon", "daemon.signals")),
        }
        assert int(resident) < 22 * 1024  # kB; an editable installation takes some of it
