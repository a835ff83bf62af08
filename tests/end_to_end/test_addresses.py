"""The address that the exporter listens on, in networks with and without IPv6."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import load
from tests.support.clients import Client
from tests.support.commands import run
from tests.support.doctor import doctor
from tests.support.exporter import RunningExporter, running_exporter, simulated, write_config
from tests.support.network import has_ipv6, own_network, set_ipv6
from tests.support.no_ipv6 import without_ipv6
from tests.support.supervised import own_directory
from tests.support.waiting import wait_for

RUN_DIRECTORY = "NEURON_EXPORTER_RUN_DIRECTORY"


def config(*listen: str) -> dict[str, Any]:
    """Return a configuration with these addresses, or with the default one."""
    addresses = list(listen) or load().config.prometheus.listen
    return {"source": simulated(), "prometheus": {"listen": addresses}}


def assert_healthy(folder: Path, exporter: RunningExporter) -> None:
    """Check that `healthcheck` finds the exporter, by its file and by the default, and `doctor` by
    its configuration."""
    wait_for((own_directory(folder) / "url").exists)
    for variables in ({RUN_DIRECTORY: str(folder)}, {}):
        done = run("healthcheck", environment=variables)
        assert (done.status, done.out) == (0, "healthy: http://127.0.0.1:9415\n")
    assert exporter.url == "http://127.0.0.1:9415"
    assert exporter.get("/healthz")[0] == 200
    findings = doctor("--config", str(folder / "exporter.yaml")).about("exporter", "ok")
    assert findings[0].seen.startswith("answers at :9415")


def answers(*hosts: str) -> list[bool]:
    """Return whether the exporter answers at each address, on the default port."""

    def answer(host: str) -> bool:
        try:
            with Client(9415, host=host) as client:
                return client.get("/healthz").status == 200
        except OSError:
            return False

    return [answer(host) for host in hosts]


@pytest.mark.parametrize("only_ipv6", [0, 1])
def test_default_address_of_every_network(tmp_path: Path, only_ipv6: int) -> None:
    """One socket accepts IPv6 and IPv4, whatever the system's default (bindv6only) is."""
    with own_network("192.0.2.7", "fd00::7"):
        set_ipv6("bindv6only", only_ipv6)
        with running_exporter(
            tmp_path, config(), environment={RUN_DIRECTORY: str(tmp_path)}
        ) as exporter:
            exporter.wait_for_event("started")
            assert answers("127.0.0.1", "192.0.2.7", "::1", "fd00::7") == [True] * 4
            assert_healthy(tmp_path, exporter)
            assert exporter.stop() == 0


@pytest.mark.parametrize("error", ["EAFNOSUPPORT", "EADDRNOTAVAIL"])
def test_ipv4_alone_without_ipv6(tmp_path: Path, error: str) -> None:
    with (
        own_network("192.0.2.7"),
        running_exporter(
            tmp_path,
            config(),
            environment={RUN_DIRECTORY: str(tmp_path)},
            within=without_ipv6(error),
        ) as exporter,
    ):
        exporter.wait_for_event("started")
        assert answers("127.0.0.1", "192.0.2.7", "::1") == [True, True, False]
        assert_healthy(tmp_path, exporter)
        assert exporter.stop() == 0


def test_ipv6_turned_off(tmp_path: Path) -> None:
    with own_network("192.0.2.7"):
        if has_ipv6():
            set_ipv6("conf/all/disable_ipv6", 1)
        with running_exporter(
            tmp_path, config(), environment={RUN_DIRECTORY: str(tmp_path)}
        ) as exporter:
            exporter.wait_for_event("started")
            assert answers("127.0.0.1", "192.0.2.7", "::1") == [True, True, False]
            assert_healthy(tmp_path, exporter)


def test_used_port_is_an_error(tmp_path: Path) -> None:
    """Another reason than a missing IPv6 does not lead to IPv4 alone."""
    with own_network(), socket.create_server(("::", 9415), family=socket.AF_INET6):
        path = write_config(tmp_path, config())
        done = run("run", "--config", str(path))
    assert done.status == 1
    assert done.err.startswith("neuron-exporter: cannot listen on :9415: Address already in use")


def test_healthcheck_of_ipv6_beside_another_address(tmp_path: Path) -> None:
    """ "[::]" beside another address on its port is IPv6 alone, which ::1 reaches."""
    with own_network("192.0.2.7"):
        listen = ["[::]:9415", "192.0.2.7:9415"]
        with running_exporter(tmp_path, config(*listen)) as exporter:
            exporter.wait_for_event("started")
            assert answers("::1", "192.0.2.7", "127.0.0.1") == [True, True, False]
            variables = {"NEURON_EXPORTER__PROMETHEUS__LISTEN": str(listen)}
            done = run("healthcheck", environment=variables)
            assert (done.status, done.out) == (0, "healthy: http://[::1]:9415\n")
            assert exporter.stop() == 0
