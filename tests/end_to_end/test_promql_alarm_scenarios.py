"""PromQL alarms over the series of running exporters, in the scenarios of the alert rules."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end import test_rule_hangs, test_rule_owners, test_rule_scenarios
from tests.end_to_end.test_rule_scenarios import FAULTS
from tests.support import promtool, rule_scenarios
from tests.support.promql_alarms import AlarmsInPlaceOfAlerts, adopt
from tests.support.promtool import alerts_fired, alerts_firing
from tests.support.rule_frames import STEP, Frames, simulate
from tests.support.rule_scenarios import BUSY, FRAMES_PER_HOUR, ONSET, healthy_hour

pytestmark = pytest.mark.usefixtures("needs_prometheus")

MODULES = (test_rule_hangs, test_rule_owners, test_rule_scenarios)

OTHERS = {
    "test_recorded_series_agree": "recorded series",
    "test_tolerated_faults_fire_no_alert": "the queries are those of the rules",
    "test_restart_does_not_delay_an_alert": "the same",
    "test_errors_from_before_the_start_do_not_count": "the same",
    "test_long_executions_do_not_hang": "the same",
    "test_checkpoint_of_twenty_minutes_is_no_hang": "the same",
}
"""Tests that do not apply, or need not run twice, with the reason."""

globals().update(adopt(MODULES, OTHERS))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Return an hour of a healthy machine."""
    return healthy_hour(tmp_path_factory.mktemp("healthy"))


@pytest.fixture(autouse=True)
def alarms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AlarmsInPlaceOfAlerts]:
    """Replace the alert rules, and see that the test is about alarms."""
    replacement = AlarmsInPlaceOfAlerts(tmp_path, monkeypatch)
    replacement.patch(*MODULES, rule_scenarios)
    yield replacement
    assert replacement.checked


MINUTE = 60


@pytest.mark.parametrize("fault", FAULTS)
def test_points_of_every_minute(
    fault: str, tmp_path: Path, healthy: Frames, alarms: AlarmsInPlaceOfAlerts
) -> None:
    """With the default of `otlp.interval`, an alarm is at most two minutes later."""
    faulty = simulate(tmp_path, FRAMES_PER_HOUR, *BUSY, "--faults", f"{fault}@{ONSET}")
    machines = {"healthy:9415": healthy, "faulty:9415": faulty}
    every = {name: frames[:: MINUTE // STEP] for name, frames in machines.items()}
    ever = {name for names in FAULTS[fault].values() for name in names}
    end = FRAMES_PER_HOUR * STEP - MINUTE
    at, names = list(FAULTS[fault].items())[-1]
    expected = [
        alerts_fired(ONSET * STEP),
        alerts_firing(ONSET * STEP + at + 2 * MINUTE, *names),
        alerts_firing(end, *names),
        alerts_fired(end, *ever),
    ]
    promtool.check(tmp_path, every, *expected, step=MINUTE)
    alarms.checked += len(expected)
