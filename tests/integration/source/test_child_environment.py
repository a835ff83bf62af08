"""Environment of the child: passed variables, PATH and memory limit."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from neuron_exporter.source import NeuronMonitorSource, environment
from neuron_exporter.source.environment import TOOLS_DIRECTORY, child_environment, dropped_variables
from tests.support.children import child, script
from tests.support.source_thread import RecordingListener, running_source
from tests.support.waiting import wait_for


def first_line(*command: str) -> bytes:
    """Return the first line that a command prints as neuron-monitor."""
    listener = RecordingListener()
    with running_source(NeuronMonitorSource(command, (), 1.0, 2**20), listener):
        wait_for(lambda: listener.lines)
    return listener.lines[0]


def test_search_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program is searched on PATH, then in the directory of AWS's tools; each is there once."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script(tools / "a-monitor", f'echo "$PATH"; exec {shlex.join(child("forever"))}')
    monkeypatch.setattr(environment, "TOOLS_DIRECTORY", str(tools))

    path = os.environ["PATH"].split(":")
    monkeypatch.setenv("PATH", ":".join([*path, *path]))
    assert first_line("a-monitor").decode() == ":".join(dict.fromkeys([*path, str(tools)]))
    monkeypatch.setenv("PATH", ":".join([*path, str(tools)]))
    assert first_line("a-monitor").decode() == ":".join(dict.fromkeys([*path, str(tools)]))
    assert TOOLS_DIRECTORY == "/opt/aws/neuron/bin"


@pytest.mark.parametrize(
    ("limit", "own", "expected"),
    [(1000, None, "600"), (1000, "5GiB", "5GiB"), (None, None, None), (None, "off", "off")],
)
def test_gomemlimit(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, own: str | None, expected: str | None
) -> None:
    """GOMEMLIMIT is 60 % of the container's memory unless it is set."""
    monkeypatch.setattr(environment, "memory_limit", lambda: limit)
    monkeypatch.delenv("GOMEMLIMIT", raising=False)
    if own is not None:
        monkeypatch.setenv("GOMEMLIMIT", own)

    facts = json.loads(first_line(*child("facts", "forever")))

    assert facts["environment"].get("GOMEMLIMIT") == expected


def test_environment_without_path() -> None:
    """Without PATH, the system's default and the directory of AWS's tools are searched."""
    assert child_environment({}, {})["PATH"] == f"{os.defpath}:{TOOLS_DIRECTORY}"


@pytest.mark.parametrize(
    "variable",
    [
        *("HOME=/root", "TMPDIR=/run", "TZ=UTC", "LANG=C", "LC_TIME=C", "LD_LIBRARY_PATH=/lib"),
        *("GOMEMLIMIT=1GiB", "NEURON_RT_VISIBLE_CORES=0-3", "NEURON_EXPORTERS=2"),
        *("HTTP_PROXY=http://proxy:3128", "https_proxy=proxy.internal:3128", "ALL_PROXY=[::1]:80"),
        *("HTTPS_PROXY=socks5h://10.0.0.1:1080/", "no_proxy=.internal,10.0.0.0/8"),
    ],
)
def test_passed_variables(variable: str) -> None:
    name, _, value = variable.partition("=")

    assert child_environment({name: value}, {})[name] == value


@pytest.mark.parametrize(
    "variable",
    [
        *("AWS_SECRET_ACCESS_KEY=x", "NEURON_EXPORTER__LOG__LEVEL=info", "NEURON_EXPORTER_X=x"),
        *("neuron_exporter__log__level=x", "NEURON=x", "PATHS=x", "LC_\N{KELVIN SIGN}=x", "LC_=x"),
        *("LD_PRELOAD=/tmp/x.so", "NEURON_X\n=x", "SSLKEYLOGFILE=x", "HOME\n=x"),
        *("HTTP_PROXY=http://user:word@proxy", "http_proxy=http://user@proxy", "all_proxy=u:w@p"),
        *(
            "HTTPS_PROXY=http://proxy/?token=x",
            "HTTP_PROXY=http://proxy/word",
            "HTTP_PROXY=//u:w@p",
        ),
        *("HTTP_PROXY=http://u%3Aw%40proxy", "HTTP_PROXY=http://proxy\n", "HTTP_PROXY=p:80 u:w"),
    ],
)
def test_dropped_variables(variable: str) -> None:
    name, _, value = variable.partition("=")

    assert name not in child_environment({name: value}, {})
    assert dropped_variables({name: value, "HOME": "/"}, {}) == [name]
    assert child_environment({name: value}, {name: None})[name] == value
    assert child_environment({name: value}, {name: "own"})[name] == "own"
