"""What recorded reports look like in both sinks does not change unnoticed.

A new recording without golden files fails until `make golden` has written them and somebody has
read them.
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
from neuron_exporter.metrics.report_period import Period
from neuron_exporter.metrics.selection import for_cloudwatch, for_prometheus
from neuron_exporter.model import Layout, Machine, Moment, Owners, Snapshot
from neuron_exporter.report import decode
from neuron_exporter.sinks.cloudwatch.datums import datums, heartbeats, measure
from neuron_exporter.sinks.cloudwatch.dimensions import resolve
from neuron_exporter.sinks.cloudwatch.window import Windows
from neuron_exporter.sinks.prometheus import PrometheusSink
from tests import captures
from tests.conftest import Golden

START = 1_700_000_040.0

CAPTURES = captures.all_captures()

NAMES_OF_AWS = (
    # AWS's script has named these, and dashboards ask for them.
    'system_vcpu_count non-histogram and non-summary metrics should not have "_count" suffix',
)


def snapshots(path: Path, layout: Layout = Layout.CORE) -> list[Snapshot]:
    """The snapshots of a recording, read at the end of a minute."""
    rows = [row for row in CATALOGUE if not row.layouts or layout in row.layouts]
    collector = Collector(rows, Counters(), Period(None))
    identity = Identity(Machine(), {})
    made = []
    for number, line in enumerate(captures.lines(path)):
        report = decode(line).report
        machine = identity.observe(report.instance_info or report.instance_data)
        at = Moment(START + 50 + number, 100.0 + number)
        made.append(collector.collect(report, at, machine, Owners()).snapshot)
    return made


def exposition(path: Path, layout: Layout) -> str:
    """What a scrape shows after the last report of a recording."""
    sink = PrometheusSink(for_prometheus("full", ["*"], [], layout)[0])
    for snapshot in snapshots(path, layout):
        sink.offer(snapshot)
    return sink.expose(snapshot.taken_at.monotonic).decode()


def payload(path: Path, preset: str) -> str:
    """What would be sent of a window with a recording in it."""
    selection, _ = for_cloudwatch(preset, [], [])
    windows = Windows(selection, 60)
    for snapshot in snapshots(path):
        windows.add(snapshot)
    (window,) = windows.take(START + 60)
    named = resolve(["InstanceId", "InstanceType"], snapshot.machine, {})
    assert named
    made: list[dict[str, Any]] = datums(
        window, heartbeats(window, 60, selection, [named]) + measure(window, selection, [named])
    )
    lines = (json.dumps({**datum, "Timestamp": datum["Timestamp"].isoformat()}) for datum in made)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_exposition(path: Path, layout: Layout, golden: Golden) -> None:
    """What a scrape shows of a recorded report does not change unnoticed."""
    golden.check(f"{path.stem}.{layout}.prom", exposition(path, layout))


@pytest.mark.parametrize("preset", ["standard", "full"])
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_cloudwatch_payload(path: Path, preset: str, golden: Golden) -> None:
    """What CloudWatch gets of a recorded report does not change unnoticed."""
    golden.check(f"{path.stem}.{preset}.ndjson", payload(path, preset))


@pytest.mark.usefixtures("needs_prometheus")
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_promtool_finds_nothing(path: Path, layout: Layout) -> None:
    """Prometheus' own linter has nothing to say, names that AWS has given aside."""
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposition(path, layout),
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if line not in NAMES_OF_AWS]
    assert said == []
    assert done.stdout == ""
