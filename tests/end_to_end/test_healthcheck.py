"""`neuron-exporter healthcheck` against a running exporter, and what it costs."""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.exporter import EXPORTER, clean_environment, running_exporter, simulated
from tests.support.strict_front import strict_front
from tests.support.waiting import wait_for
from tests.support.web_config import WebFolder, hashed

RUN_DIRECTORY = "NEURON_EXPORTER_RUN_DIRECTORY"
LISTEN = "NEURON_EXPORTER__PROMETHEUS__LISTEN"


def check(*flags: str, **environment: str) -> tuple[int, str]:
    """Status and words of a health check, which are one line whatever happens."""
    done = subprocess.run(
        [*EXPORTER, "healthcheck", *flags],
        capture_output=True,
        text=True,
        timeout=20,
        env=clean_environment(**environment),
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "0.0.0.0:0", ":0", "localhost:0"])
def test_it_finds_the_exporter_wherever_it_listens(tmp_path: Path, address: str) -> None:
    """A port that the configuration file alone names is found by the run directory, and nothing is
    left there at the end."""
    run = {RUN_DIRECTORY: str(tmp_path)}
    config = {"source": simulated(), "prometheus": {"listen": address}}
    with running_exporter(tmp_path, config, environment=run) as exporter:
        url = exporter.url
        wait_for(lambda: (tmp_path / "url").exists())
        assert check(**run) == (0, f"well: {url}")
        assert exporter.stop() == 0
    assert not (tmp_path / "url").exists()
    status, said = check(**run)
    assert (status, said.startswith("not well: http://127.0.0.1:9415")) == (1, True)


def test_a_run_directory_that_is_not_there_stops_nobody(tmp_path: Path) -> None:
    """Where the exporter listens cannot be told there, and it runs."""
    run = {RUN_DIRECTORY: str(tmp_path / "missing")}
    with running_exporter(tmp_path, {"source": simulated()}, environment=run) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert exporter.stop() == 0


@pytest.mark.parametrize(
    "form", ["127.0.0.1:{}", "0.0.0.0:{}", ":{}", "['127.0.0.1:{}', '[::1]:1']"]
)
def test_it_goes_by_the_variable_that_the_exporter_goes_by(tmp_path: Path, form: str) -> None:
    """Without a run directory the address comes from the environment, a list's first one."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        assert check(**{LISTEN: form.format(exporter.port)}) == (0, f"well: {exporter.url}")


def test_a_flag_goes_before_all(tmp_path: Path) -> None:
    """Who says where to ask is asked there."""
    (tmp_path / "url").write_text("http://127.0.0.1:1\n")
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        elsewhere = {RUN_DIRECTORY: str(tmp_path), LISTEN: "127.0.0.1:1"}
        assert check("--url", exporter.url, **elsewhere)[0] == 0


def test_tls_needs_no_authority(tmp_path: Path) -> None:
    """The certificate is for those outside: whether the exporter lives is asked without it."""
    web = WebFolder(tmp_path)
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": web.write(tls_server_config=web.tls)},
    }
    run = {RUN_DIRECTORY: str(tmp_path)}
    with running_exporter(tmp_path, config, environment=run, tls=web.client()) as exporter:
        wait_for(lambda: (tmp_path / "url").exists())
        assert exporter.url.startswith("https://")
        assert check(**run) == (0, f"well: {exporter.url}")
        exporter.wait_for_value("neuron_exporter_up", 1)
        assert check("--deep", **run)[0] == 0


@pytest.mark.parametrize("version", ["TLS12", "TLS13"])
def test_a_demand_for_a_certificate_is_a_sign_of_life(tmp_path: Path, version: str) -> None:
    """The check has no certificate to show: where one is asked for, http lives, and it says so."""
    web = WebFolder(tmp_path)
    tls = {**web.mutual, "min_version": version, "max_version": version}
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": web.write(tls_server_config=tls)},
    }
    with running_exporter(tmp_path, config) as exporter:
        status, said = check("--url", exporter.url)
        assert (status, "nothing more was asked" in said) == (0, True), said
        status, said = check("--deep", "--url", exporter.url)
        assert (status, "wants a certificate" in said) == (1, True), said


def test_a_demand_for_a_password_is_a_sign_of_life(tmp_path: Path) -> None:
    """An answer that asks for a password shows that http lives; with it, all can be asked."""
    web = WebFolder(tmp_path)
    config = {
        "source": simulated(),
        "prometheus": {"web_config_file": web.write(basic_auth_users={"me": hashed("a:b")})},
    }
    with running_exporter(tmp_path, config) as exporter:
        status, said = check("--url", exporter.url)
        assert (status, "nothing more was asked" in said) == (0, True), said
        status, said = check("--deep", "--url", exporter.url)
        assert (status, "asks for a password" in said) == (1, True), said
        port = exporter.port
        wait_for(lambda: check("--deep", "--url", f"http://me:a%3Ab@127.0.0.1:{port}")[0] == 0)
        assert "a%3Ab" not in check("--url", f"http://me:a%3Ab@127.0.0.1:{port}")[1]


def test_a_reload_that_begins_to_protect_is_followed(tmp_path: Path) -> None:
    """The check speaks TLS from when the exporter does."""
    web = WebFolder(tmp_path)
    config = {"source": simulated(), "prometheus": {"web_config_file": web.write()}}
    run = {RUN_DIRECTORY: str(tmp_path)}
    with running_exporter(tmp_path, config, environment=run):
        wait_for(lambda: check(**run)[0] == 0)
        web.write(tls_server_config=web.tls)
        wait_for(lambda: check(**run)[1].startswith("well: https://"))


def test_deep_names_the_source_that_is_not_well(tmp_path: Path) -> None:
    """Life is one thing, health another: a missing neuron-monitor fails the deep check alone."""
    config = {"source": {"command": ["/nonexistent/neuron-monitor"]}}
    with running_exporter(tmp_path, config) as exporter:
        assert check("--url", exporter.url)[0] == 0
        exporter.wait_for_value("neuron_exporter_source_state", 1, state="missing_program")
        status, said = check("--deep", "--url", exporter.url)
        assert (status, said) == (1, "not well: the source is not up (missing_program)")


@pytest.mark.usefixtures("nobodys_credentials")
def test_deep_names_the_sink_that_is_not_well(tmp_path: Path) -> None:
    """A CloudWatch that takes nothing fails the deep check, which says so."""
    with strict_front() as front:
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
            said = "not well: sink cloudwatch is not up"
            assert check("--deep", "--url", exporter.url) == (1, said)
            front.up()
            wait_for(lambda: check("--deep", "--url", exporter.url)[0] == 0, 30)


def test_one_that_accepts_and_says_nothing_is_left() -> None:
    """A hanging exporter is not well, and the check ends in five seconds."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        status, said = check("--url", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert (status, said) == (1, "not well: no answer within 5 s")
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("answer", [b"rubbish", b"HTTP/1.1 500 No\r\n\r\n", b"", b"\x15\x03\x01"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_one_that_answers_anything_else_is_not_well(scheme: str, answer: bytes) -> None:
    """Whatever is on the port instead is no exporter that lives, and makes no traceback."""
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
def test_a_url_that_is_none_is_wrong_use(url: str) -> None:
    """What was typed wrongly is told as everywhere, with what is meant."""
    done = subprocess.run(
        [*EXPORTER, "healthcheck", "--url", url], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"must be a URL as http://127.0.0.1:9415 (got '{url}')" in done.stderr


COST = """
import sys
from neuron_exporter.cli.main import main
assert main(["healthcheck", "--url", sys.argv[1], *sys.argv[2:]]) == 0
status = open("/proc/self/status").read()
print(status.split("VmHWM:")[1].split()[0], *sorted(sys.modules))
"""


@pytest.mark.parametrize("flags", [(), ("--deep",)])
def test_it_costs_next_to_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """It is started every minute within the container's limits: no library is imported, and memory
    and time stay far below the exporter's own."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        exporter.wait_for_value("neuron_exporter_up", 1)
        command = [sys.executable, "-c", COST, exporter.url, *flags]
        took = []
        for _ in range(5):
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            took.append(time.perf_counter() - began)
        resident, *loaded = done.stdout.splitlines()[-1].split()
        tops = {name.partition(".")[0] for name in loaded}
        libraries = {"pydantic", "yaml", "structlog", "botocore", "msgspec", "prometheus_client"}
        assert not tops & libraries
        ours = {name for name in loaded if name.startswith("exporter.")}
        assert ours == {
            f"exporter.{name}"
            for name in (
                *("cli", "commands", "flags", "signals", "standard_streams"),
                *("healthcheck", "whereabouts"),
            )
        }
        print(f"{int(resident) / 1024:.1f} MiB, {1000 * statistics.median(took):.0f} ms")
        assert int(resident) < 22 * 1024  # an editable installation takes some of it
        assert statistics.median(took) < 0.5  # two cores, shared with other tests
