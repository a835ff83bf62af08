"""The files of a simulated driver, over many reports."""

from __future__ import annotations

import json

import pytest

from neuron_exporter.simulator.faults import FAULTS, Timing
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support.simulated_driver import INF2, after, errors, run


@pytest.mark.parametrize("name", [n for n, row in FAULTS.items() if row.timing is not Timing.ONCE])
def test_reports_do_not_depend_on_the_files(name: str) -> None:
    flags = (*INF2, "--scenario", "mixed", "--faults", name)
    machine = Machine(parse([*flags]))
    for number, (report, _) in enumerate(run(12, *flags)):
        assert json.dumps(report) == json.dumps(machine.report(number))


def test_some_resets_fail() -> None:
    script = "--faults", "device-reset"
    requested, failed = (
        errors(after(200, *INF2, *script), name) // 2
        for name in ("reset_req_count", "reset_fail_count")
    )
    assert 20 < requested < 60
    assert 0 < failed < requested
