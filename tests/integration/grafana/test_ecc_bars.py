"""The bars of ECC events on Machine, drawn by a real Prometheus, add up to what happened."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support import dashboards
from tests.support.servers import Prometheus, prometheus_server

pytestmark = pytest.mark.usefixtures("needs_prometheus")

SCRAPE = 15
MINUTES = 100

EVENTS = {10: 1, 11: 1, 25: 30, 26: 2, 52: 5, 71: 3, 90: 7}
"""Number of errors by the minute in which they happen."""

OUTAGE = range(50, 60)
"""Minutes without a scrape."""

RESTART = 70
"""Minute from which on a new exporter counts from 0."""

VARIABLES = {"cluster": ".*", "job": "neuron", "machine": "i-1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Start a Prometheus with the errors of one device in the last hours."""
    folder = tmp_path_factory.mktemp("ecc")
    begin = time.time() - 60 * (MINUTES + 5)
    lines = []
    for sample in range(60 * MINUTES // SCRAPE):
        minute = sample * SCRAPE // 60
        if minute not in OUTAGE:
            counted_from = RESTART if minute >= RESTART else 0
            count = sum(
                number
                for at, number in EVENTS.items()
                if counted_from <= at and at * 60 + 40 <= sample * SCRAPE
            )
            lines.append(f"{SERIES} {count} {begin + sample * SCRAPE:.3f}\n")
    text = folder / "errors.txt"
    text.write_text("".join(["# TYPE hardware_ecc_events counter\n", *lines, "# EOF\n"]))
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", text, folder / "data"],
        check=True,
        capture_output=True,
    )
    with prometheus_server(folder) as started:
        yield started


SERIES = (
    'hardware_ecc_events_total{job="neuron",instance="a",instance_id="i-1",'
    'neuron_device_index="0",event_type="mem_ecc_corrected"}'
)


@pytest.mark.parametrize("step", [60, 90, 300, 1800])
def test_bars_of_events(server: Prometheus, step: int) -> None:
    """Each event is in one bar, whatever the step, an outage or a restart of the exporter."""
    machine = dashboards.load(dashboards.FOLDER / "machine.json")
    panel = dashboards.find_panel(machine, "Corrected")
    (target,) = panel.targets
    assert target["interval"] == "1m"
    values = {**VARIABLES, "__interval": f"{step}s"}
    (series,) = server.over(dashboards.resolve(target["expr"], values), 3 * 3600, step)
    bars = [float(value) for _, value in series["values"]]
    assert sum(bars) == sum(EVENTS.values())
    assert len([bar for bar in bars if bar]) <= len(EVENTS)
