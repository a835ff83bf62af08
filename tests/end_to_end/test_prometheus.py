"""A real Prometheus scrapes the running exporter and gets correct values."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.web import Response, Server
from tests.benchmarks.aws_script import AwsScript
from tests.support.exporter import RunningExporter, running_exporter, simulated
from tests.support.servers import prometheus_server
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("needs_prometheus")


def address(exporter: RunningExporter) -> str:
    """Return HOST:PORT of a running exporter."""
    return exporter.url.removeprefix("http://")


def replayed(path: Path, **replay: Any) -> dict[str, Any]:
    """Return a source that replays a file."""
    return {"kind": "file", "path": str(path), "replay": replay}


def test_thirty_two_runtimes_are_15_5_percent(tmp_path: Path, thirty_two_runtimes: Path) -> None:
    """avg(neuroncore_utilization_ratio) of the recorded machine is 0.155; AWS's script, with one
    series per runtime and core, gets 0.0048 from the same report."""
    script = AwsScript()
    script.put(thirty_two_runtimes.read_text())
    text = generate_latest(script.registry)
    other = Server("127.0.0.1:0", {"/metrics": lambda _: Response(text)}, lambda: None)
    other.start()
    source = replayed(thirty_two_runtimes, at_end="repeat")
    with (
        running_exporter(tmp_path, {"source": source}) as exporter,
        prometheus_server(tmp_path, address(exporter), f"127.0.0.1:{other.port}") as prometheus,
    ):
        average = f'avg(neuroncore_utilization_ratio{{instance="{address(exporter)}"}})'
        assert wait_for(lambda: prometheus.value(average)) == pytest.approx(0.155)
        theirs = f'avg(neuroncore_utilization_ratio{{instance="127.0.0.1:{other.port}"}})'
        assert wait_for(lambda: prometheus.value(theirs)) == pytest.approx(0.0048, abs=0.0001)
        ours = f'{{instance="{address(exporter)}", __name__'
        assert prometheus.value(f'count({ours}="neuroncore_utilization_ratio"}})') == 32
        assert prometheus.value("neuron_exporter_up") == 1
        up = prometheus.value(f'up{{instance="{address(exporter)}"}}')
        assert up == 1
    other.close()


def test_series_of_a_dead_source(tmp_path: Path) -> None:
    """Once the last report is stale no hardware series is left; the exporter goes on and shows the
    state."""
    child = tmp_path / "child.py"
    child.write_text(
        "import os, sys\n"
        "simulator = [sys.executable, '-m', 'neuron_exporter.simulator']\n"
        "os.execv(sys.executable, [*simulator, *sys.argv[1:]])\n"
    )
    config = {"source": {"command": [sys.executable, str(child)], "period": "1s"}}
    with (
        running_exporter(tmp_path, config) as exporter,
        prometheus_server(tmp_path, address(exporter)) as prometheus,
    ):
        wait_for(lambda: prometheus.value("count(neuroncore_utilization_ratio)") == 32)
        child.write_text("import sys; sys.exit('broken for good')\n")
        children = subprocess.run(
            ["pgrep", "-P", str(exporter.process.pid)], capture_output=True, text=True, check=True
        )
        for pid in children.stdout.split():
            subprocess.run(["kill", "-KILL", pid], check=True)
        wait_for(lambda: prometheus.query("neuroncore_utilization_ratio") == [])
        assert prometheus.query("system_memory_total_bytes") == []
        assert prometheus.value("neuron_exporter_up") == 0
        state = 'neuron_exporter_source_state{state="exited"}'
        assert prometheus.value(state) == 1
        assert prometheus.value('up{job="neuron"}') == 1


def test_counters_never_fall(tmp_path: Path) -> None:
    """Over 200 reports with runtimes that start, end and share tags, Prometheus sees no reset, and
    each counter ends at the sum of what was reported."""
    options = parse(["--scenario", "mixed", "--seed", "7", "--runtimes", "6"])
    machine = Machine(options)
    reports = [machine.report(number) for number in range(200)]
    config = {"source": {"kind": "stdin"}}
    with (
        running_exporter(tmp_path, config, stdin=subprocess.PIPE) as exporter,
        prometheus_server(tmp_path, address(exporter), interval="100ms") as prometheus,
    ):
        stdin = exporter.process.stdin
        assert stdin is not None
        for number, report in enumerate(reports, 1):
            stdin.write(json.dumps(report).encode() + b"\n")
            stdin.flush()
            if number % 5 == 0:
                wait_for(lambda n=number: prometheus.value("neuron_exporter_reports_total") == n)
        counters = '{__name__=~"execution_.*_total|neuron_execution.*_total"}'
        assert prometheus.value(f"sum(resets({counters}[10m]))") == 0
        assert prometheus.value(f"max(count_over_time({counters}[10m]))") >= 40  # type: ignore[operator]
        tally = Counter[str]()
        for runtime in (each for report in reports for each in report["neuron_runtime_data"]):
            tally.update(runtime["report"]["execution_stats"]["execution_summary"])
        assert tally["completed_with_num_err"] > 0
        for status, count in tally.items():
            by_status = f'{{status_type="{status}"}}'
            assert prometheus.value(f"neuron_executions_total{by_status}") == count
            assert prometheus.value(f"sum(execution_status_total{by_status})") == count
        tags = {
            r["neuron_runtime_tag"] for report in reports for r in report["neuron_runtime_data"]
        }
        shown = prometheus.query("count by (runtime_tag) (execution_status_total)")
        assert {each["metric"]["runtime_tag"] for each in shown} == tags
        assert exporter.stop() == 0


def test_first_report_then_stop(tmp_path: Path) -> None:
    """A new exporter serves its first report, and SIGTERM ends it with status 0."""
    with running_exporter(tmp_path, {"source": simulated()}) as exporter:
        exporter.wait_for_event("started")
        wait_for(lambda: exporter.value("neuron_exporter_up") == 1)
        assert exporter.value("neuroncores_in_use") is not None
        assert exporter.stop(signal.SIGTERM) == 0
