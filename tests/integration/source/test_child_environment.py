"""Environment of the child: PATH and memory limit."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from neuron_exporter.source import NeuronMonitorSource, neuron_monitor
from neuron_exporter.source.neuron_monitor import TOOLS_DIRECTORY, child_environment
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
    """A program is searched on PATH, then in the directory of AWS's tools."""
    tools = tmp_path / "tools"
    tools.mkdir()
    script(tools / "a-monitor", f'echo "$PATH"; exec {shlex.join(child("forever"))}')
    monkeypatch.setattr(neuron_monitor, "TOOLS_DIRECTORY", str(tools))

    assert first_line("a-monitor").decode() == f"{os.environ['PATH']}:{tools}"
    assert TOOLS_DIRECTORY == "/opt/aws/neuron/bin"


@pytest.mark.parametrize(
    ("limit", "own", "expected"),
    [(1000, None, "600"), (1000, "5GiB", "5GiB"), (None, None, None), (None, "off", "off")],
)
def test_gomemlimit(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, own: str | None, expected: str | None
) -> None:
    """GOMEMLIMIT is 60 % of the container's memory unless it is set."""
    monkeypatch.setattr(neuron_monitor, "memory_limit", lambda: limit)
    monkeypatch.delenv("GOMEMLIMIT", raising=False)
    if own is not None:
        monkeypatch.setenv("GOMEMLIMIT", own)

    facts = json.loads(first_line(*child("facts", "forever")))

    assert facts["environment"].get("GOMEMLIMIT") == expected


def test_environment_without_path() -> None:
    """Without PATH, the system's default and the directory of AWS's tools are searched."""
    assert child_environment({})["PATH"] == f"{os.defpath}:{TOOLS_DIRECTORY}"


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = "memory/{}memory.limit_in_bytes"
NO_LIMIT_V1 = "9223372036854771712"


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/", {"memory.max": "1000"}, 1000),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {}, None),
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "2000"}, 2000),
        ("0::/a/b", {"a/b/memory.max": "3000", "a/memory.max": "2000"}, 2000),
        ("0::/a/b", {"a/b/memory.max": "1000", "a/memory.max": "2000"}, 1000),
        ("0::/../../other", {"memory.max": "1000"}, 1000),
        ("4:memory:/docker/x\n3:cpu:/", {V1.format("docker/x/"): "1000"}, 1000),
        ("4:cpu,memory:/docker/x", {V1.format(""): "1000"}, 1000),
        ("4:memory:/", {V1.format(""): NO_LIMIT_V1}, None),
        ("4:memory:/a\n0::/", {V1.format("a/"): NO_LIMIT_V1, V1.format(""): "500"}, 500),
        ("3:cpu:/a", {"cpu/a/memory.limit_in_bytes": "1000", "memory.max": "1000"}, None),
        ("", {"memory.max": "1000"}, None),
    ],
)
def test_lowest_memory_limit(
    tmp_path: Path, membership: str, files: dict[str, str], limit: int | None
) -> None:
    """cgroups of both versions are read from the process's own up to the visible root."""
    (tmp_path / "membership").write_text(membership + "\n")
    root = _tree(tmp_path / "cgroup", files)

    assert neuron_monitor.memory_limit(root, tmp_path / "membership") == limit


def test_no_cgroups(tmp_path: Path) -> None:
    assert neuron_monitor.memory_limit(tmp_path, tmp_path / "nothing") is None
