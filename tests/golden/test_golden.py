"""Golden files of both sinks for recorded reports.

A new recording fails until `make golden` has written its files and someone has reviewed them.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.identity.machine import Identity
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.collector import Collector
from neuron_exporter.metrics.counters import Counters
from neuron_exporter.metrics.report_period import ReportPeriod
from neuron_exporter.metrics.selection import select_for_cloudwatch, select_for_prometheus
from neuron_exporter.model import Layout, Machine, Owners, Snapshot, Timestamp
from neuron_exporter.report import decode
from neuron_exporter.sinks.cloudwatch.datums import (
    build_datums,
    collect_heartbeats,
    collect_metrics,
)
from neuron_exporter.sinks.cloudwatch.dimensions import resolve
from neuron_exporter.sinks.cloudwatch.window import Windows
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests import captures
from tests.conftest import Golden

START = 1_700_000_040.0

CAPTURES = captures.all_captures()

AWS_NAMES = (
    # Named by AWS's script, and used in dashboards.
    'system_vcpu_count non-histogram and non-summary metrics should not have "_count" suffix',
)


def snapshots(path: Path, layout: Layout = Layout.CORE) -> list[Snapshot]:
    """Return the snapshots of a recording that was read at the end of a minute."""
    rows = [row for row in CATALOGUE if not row.layouts or layout in row.layouts]
    collector = Collector(rows, Counters(), ReportPeriod(None))
    identity = Identity(Machine(), {})
    collected = []
    for number, line in enumerate(captures.lines(path)):
        report = decode(line).report
        machine = identity.observe(report.instance_info or report.instance_data)
        at = Timestamp(START + 50 + number, 100.0 + number)
        collected.append(collector.collect(report, at, machine, Owners()).snapshot)
    return collected


def exposition(path: Path, layout: Layout) -> str:
    """Return the exposition after the last report of a recording."""
    sink = PrometheusSink(select_for_prometheus("full", ["*"], [], layout)[0])
    for snapshot in snapshots(path, layout):
        sink.offer(snapshot)
    return sink.expose(snapshot.taken_at.monotonic).decode()


def payload(path: Path, preset: str) -> str:
    """Return the CloudWatch data of a window that contains a recording."""
    selection, _ = select_for_cloudwatch(preset, [], [])
    windows = Windows(selection, 60)
    for snapshot in snapshots(path):
        windows.add(snapshot)
    (window,) = windows.take(START + 60)
    named = resolve(["InstanceId", "InstanceType"], snapshot.machine, {})
    assert named
    datums: list[dict[str, Any]] = build_datums(
        window,
        collect_heartbeats(window, 60, selection, [named])
        + collect_metrics(window, selection, [named]),
    )
    lines = (json.dumps({**datum, "Timestamp": datum["Timestamp"].isoformat()}) for datum in datums)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_exposition(path: Path, layout: Layout, golden: Golden) -> None:
    golden.check(f"{path.stem}.{layout}.prom", exposition(path, layout))


@pytest.mark.parametrize("preset", ["standard", "full"])
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_cloudwatch_payload(path: Path, preset: str, golden: Golden) -> None:
    golden.check(f"{path.stem}.{preset}.ndjson", payload(path, preset))


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_promtool_lint(path: Path, layout: Layout) -> None:
    """Prometheus' linter has no complaints, except about names of AWS's script."""
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(path, layout),
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in done.stderr.splitlines() if line not in AWS_NAMES]
    assert complaints == []
    assert done.stdout == ""
