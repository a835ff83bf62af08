"""The budget suppresses whole metrics, the dispensable ones first."""

from __future__ import annotations

from structlog.testing import capture_logs

from neuron_exporter.metrics.selection import select_for_prometheus
from neuron_exporter.model import Preset
from neuron_exporter.sinks.otlp.budget import HOUR, REMEMBERED_HOURS, ByteBudget

FULL, _ = select_for_prometheus("full", [], [])
NOW = 1_700_000_000.0
NAMES = [row.name for row in FULL.rows]
SIZES = dict.fromkeys(NAMES, 1000)
LEAST = next(row.name for row in FULL.rows if row.preset is Preset.MINIMAL)
LAST = [row.name for row in FULL.rows if row.preset is Preset.FULL][-1]


def test_without_a_limit_everything_is_sent() -> None:
    budget = ByteBudget(None, [], FULL)
    assert budget.admit(SIZES, NOW) == frozenset()
    assert budget.status.published == budget.status.wanted == 1000 * len(NAMES)


def test_metrics_of_the_largest_preset_are_suppressed_first() -> None:
    budget = ByteBudget(1000 * len(NAMES) - 1, [], FULL)
    assert budget.admit(SIZES, NOW) == {LAST}


def test_protected_metrics_are_sent_beyond_the_limit() -> None:
    budget = ByteBudget(1, [LEAST], FULL)
    assert budget.admit(SIZES, NOW) == set(NAMES) - {LEAST}
    assert budget.status.exceeded


def test_the_largest_size_of_a_day_counts() -> None:
    budget = ByteBudget(1000 * len(NAMES), [], FULL)
    assert budget.admit({**SIZES, LEAST: 2000}, NOW) == {LAST}
    assert budget.admit(SIZES, NOW + HOUR) == {LAST}
    assert budget.admit(SIZES, NOW + (REMEMBERED_HOURS + 1) * HOUR) == frozenset()


def test_a_clock_that_is_set_back_forgets_later_hours() -> None:
    budget = ByteBudget(1000 * len(NAMES), [], FULL)
    assert budget.admit({**SIZES, LEAST: 2000}, NOW + 100 * HOUR) == {LAST}
    assert budget.admit(SIZES, NOW) == frozenset()


def test_metrics_that_are_no_longer_selected_do_not_count() -> None:
    budget = ByteBudget(2000, [], FULL)
    budget.admit(SIZES, NOW)
    only, _ = select_for_prometheus("none", [LEAST], [])
    budget.configure(2000, [], only)
    assert budget.admit({LEAST: 1000}, NOW) == frozenset()
    assert budget.status.wanted == 1000


def test_a_change_is_logged_once() -> None:
    budget = ByteBudget(1000 * len(NAMES) - 1, [], FULL)
    with capture_logs() as log:
        budget.admit(SIZES, NOW)
        budget.admit(SIZES, NOW)
        budget.configure(None, [], FULL)
        budget.admit(SIZES, NOW)
    assert [event["event"] for event in log] == ["over_budget", "within_budget"]
    assert log[0]["dropped"] == [LAST]
    assert [event["budget_usd"] for event in log] == [0.0, None]
    assert budget.rows() == {"volume": "0.0 USD a month at most"}
