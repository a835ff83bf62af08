"""Memory limits of a real Docker daemon: the exporter stays below, and what happens above."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import missing
from tests.support.container import cloudwatch_variables
from tests.support.docker_engine import Engine, EngineContainer
from tests.support.processes import alive
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for

pytestmark = pytest.mark.image

MIB = 1024 * 1024

GROUP = "/sys/fs/cgroup"
KILLS = f"{GROUP}/memory/memory.oom_control {GROUP}/memory.events"  # version 1, version 2
KILLED = f"cat {KILLS} 2>/dev/null | grep -q 'oom_kill [1-9]'"

TRN2 = "[python3, -m, neuron_exporter.simulator, --instance-type, trn2.48xlarge]"

FILL = f"until {KILLED}; do head -c {MIB} /dev/zero >>fill; done; rm fill"
"""Fills the memory of a container with a file until the kernel has killed a process."""


@contextmanager
def limited(
    engine: Engine, memory: int, *options: str, command: tuple[str, ...] = (), **environment: str
) -> Iterator[EngineContainer]:
    """Run a container with a memory limit in MiB, and no swap."""
    if engine.output("info", "--format={{.MemoryLimit}}") != "true":
        missing("the kernel has no memory limits for control groups")
    limits = (f"--memory={memory}m", f"--memory-swap={memory}m")
    with engine.container(*limits, *options, command=command, **environment) as running:
        yield running


def kills(engine: Engine, running: EngineContainer) -> list[str]:
    """Return the times when the engine saw that a container ran out of memory."""
    since = running.inspect()["Created"]
    found = engine.output(
        *("events", f"--since={since}", "--until=0s", "--format={{.Time}}"),
        *(f"--filter=container={running.name}", "--filter=event=oom"),
    )
    return found.split()


def test_usage_below_the_limit(engine: Engine) -> None:
    """With a simulated trn2.48xlarge that reports every second, both sinks and scrapes, the
    container takes at most 96 MiB of its 128, and has no swap."""
    source = {
        "NEURON_EXPORTER__SOURCE__KIND": "neuron-monitor",
        "NEURON_EXPORTER__SOURCE__COMMAND": TRN2,
        "NEURON_EXPORTER__SOURCE__PERIOD": "1s",
    }
    with validating_endpoint() as front:
        settings = {**source, **cloudwatch_variables(front.url, "trn2.48xlarge")}
        with limited(engine, 128, "--read-only", **settings) as running:
            running.wait_for_value("neuron_exporter_up", 1)
            reports = running.value("neuron_exporter_reports_total") or 0
            wait_for(
                lambda: (running.value("neuron_exporter_reports_total") or 0) >= reports + 20,
                every=0.5,
            )
            assert len(front.requests) >= 2
            assert front.rejected == []
            shown = engine.output(
                "stats", "--no-stream", "--format={{.MemUsage}} {{.MemPerc}}", running.name
            )
            print(shown)
            used = re.match(r"([\d.]+)MiB / 128MiB", shown)
            assert used is not None, shown
            assert float(used[1]) <= 96
            running.wait_for_value("neuron_exporter_memory_limit_bytes", 128 * MIB)
            assert kills(engine, running) == []
            assert running.stop_within(30) == 0
            assert not running.state["OOMKilled"]


def test_neuron_monitor_is_killed_first(engine: Engine) -> None:
    """If the container's memory is full, the kernel ends neuron-monitor; the exporter goes on,
    counts it, and starts neuron-monitor again."""
    rights = ("--read-only", "--cap-drop=ALL", "--tmpfs=/run/neuron-exporter")
    with limited(engine, 160, *rights) as running:
        running.wait_for_value("neuron_exporter_up", 1)
        exporter, monitor = running.exporter, running.find("neuron_exporter.simulator")
        filled = running.run("sh", "-c", f"cd /run/neuron-exporter; {FILL}")
        assert filled.returncode == 0, filled.stderr
        wait_for(lambda: not alive(monitor))
        wait_for(lambda: kills(engine, running), every=0.5)
        wait_for(
            lambda: (
                (running.value("neuron_exporter_source_restarts_total", reason="exited") or 0) >= 1
            )
        )
        running.wait_for_value("neuron_exporter_up", 1)
        assert running.exporter == exporter
        assert running.stop_within(30) == 0


def test_limit_below_the_exporter(engine: Engine) -> None:
    """With a limit that the exporter cannot keep, the supervised container ends with 2, and the
    engine shows why."""
    with limited(engine, 40, NEURON_EXPORTER_STARTRETRIES="1") as running:
        assert running.wait() == 2
        assert running.state["OOMKilled"]
        assert kills(engine, running)
        log = b"".join(running.streams()[1]).decode()
        assert log.count("exited: exporter (exit status 137; not expected)") == 2
        assert "restarts exhausted: no start lasted for 10 s (tries: 2)" in log


def test_the_engine_restarts_a_container_without_memory(engine: Engine) -> None:
    """Alone, the exporter is process 1: its container ends with 137 and starts again."""
    with limited(engine, 24, "--restart=on-failure:2", command=("run",)) as running:
        wait_for(lambda: running.inspect()["RestartCount"] == 2, every=0.2)
        assert running.wait() == 137
        assert running.state["OOMKilled"]
        wait_for(lambda: len(kills(engine, running)) >= 3, every=0.5)
