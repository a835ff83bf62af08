"""PromQL alarms on the exporter itself, over the series of exporters in various states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end import test_rule_conditions
from tests.end_to_end.test_rule_conditions import healthy, states
from tests.support.promql_alarms import AlarmsInPlaceOfAlerts, adopt

pytestmark = pytest.mark.usefixtures("needs_prometheus")

__all__ = ["healthy", "states"]  # fixtures

OTHERS = {
    "test_exporter_down": "NeuronExporterDown is no alarm",
    "test_fleet_unseen": "exporters that deliver nothing are not counted",
}
"""Tests that do not apply, with the reason."""

ONE_MACHINE = ("test_machine_vanished_rule_conditions",)
"""Tests in which targets with the same instance_id are one machine."""

globals().update(adopt([test_rule_conditions], OTHERS))


@pytest.fixture(autouse=True)
def alarms(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AlarmsInPlaceOfAlerts]:
    """Replace the alert rules, and see that the test is about alarms."""
    replacement = AlarmsInPlaceOfAlerts(
        tmp_path, monkeypatch, keep_ids=request.node.originalname in ONE_MACHINE
    )
    replacement.patch(test_rule_conditions)
    yield replacement
    assert replacement.checked
