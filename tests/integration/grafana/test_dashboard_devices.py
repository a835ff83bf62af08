"""The tables of devices on Fleet and Machine: what is not known is not healthy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import dashboards
from tests.support.promtool import check
from tests.support.rule_frames import STEP, Frame

pytestmark = pytest.mark.usefixtures("needs_prometheus")

COUNT = 21
VARIABLES = {
    **dict.fromkeys(("cluster", "job", "type"), ".*"),
    "machine": "i-1",
    "__range": "300s",
}
ON_MACHINE = 'instance_id="i-1",instance_type="trn2.48xlarge"'
MACHINE: Frame = {"neuron_exporter_up": 1.0, f"instance_info{{{ON_MACHINE}}}": 1.0}
DEVICE = 'job="neuron",instance="a:9415",instance_id="i-1",neuron_device_index="0"'


def device(**components: float) -> Frame:
    """Return a scrape of a machine with the power of a device, and the health of its components."""
    labels = f'neuron_device_index="0",{ON_MACHINE}'
    power = f'neurondevice_power_utilization_ratio{{statistic="avg",{labels}}}'
    info = f'neurondevice_info{{serial_number="s0",{labels}}}'
    health = {
        f'neurondevice_health{{component="{name}",{labels}}}': value
        for name, value in components.items()
    }
    return {**MACHINE, power: 0.4, info: 1.0, **health}


def rows(name: str, title: str, values: Mapping[str, float]) -> dict[str, Any]:
    """Return an expectation: the values of a table's first query, by their labels."""
    panel = dashboards.find_panel(dashboards.load(dashboards.FOLDER / f"{name}.json"), title)
    return {
        "expr": dashboards.resolve(panel.targets[0]["expr"], VARIABLES),
        "eval_time": f"{COUNT * STEP - STEP}s",
        "exp_samples": [
            {"labels": f"{{{labels}}}", "value": value} for labels, value in values.items()
        ],
    }


SERIAL = f'{DEVICE},serial_number="s0"'


@pytest.mark.parametrize(
    ("frame", "unhealthy", "states"),
    [
        (
            device(hbm=0.0, sram=1.0),
            {f'{SERIAL},component="hbm"': 0.0},
            {SERIAL: 0.0},
        ),
        (device(hbm=1.0, sram=1.0), {"": 1.0}, {SERIAL: 1.0}),
        # A driver without files on health.
        (device(), {}, {SERIAL: -1.0}),
        # A machine without files of the driver.
        (MACHINE, {}, {"": -1.0}),
    ],
    ids=["unhealthy", "healthy", "no-health", "no-files"],
)
def test_what_is_not_known_is_not_healthy(
    tmp_path: Path, frame: Frame, unhealthy: Mapping[str, float], states: Mapping[str, float]
) -> None:
    check(
        tmp_path,
        {"a:9415": [frame] * COUNT},
        rows("fleet", "Unhealthy devices", unhealthy),
        rows("machine", "Unhealthy devices", unhealthy),
        rows("machine", "Devices", states),
    )


def test_resets(tmp_path: Path) -> None:
    """Devices without a reset are not listed; without any, one row has the number 0."""
    title, counter = "Resets of devices", "neurondevice_resets_total"
    labels = f'neuron_device_index="0",{ON_MACHINE}'

    def frame(requested: float) -> Frame:
        each = {"requested": requested, "failed": 0.0}
        counters = {
            f'{counter}{{result="{result}",{labels}}}': value for result, value in each.items()
        }
        return {**MACHINE, **counters}

    check(tmp_path, {"a:9415": [frame(3.0)] * COUNT}, rows("fleet", title, {"": 0.0}))
    check(tmp_path, {"a:9415": [MACHINE] * COUNT}, rows("fleet", title, {}))
    frames = [frame(float(number)) for number in range(COUNT)]
    found = {f'{DEVICE},result="requested"': COUNT - 1.0}
    check(tmp_path, {"a:9415": frames}, rows("fleet", title, found))
