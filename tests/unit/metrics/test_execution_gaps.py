"""Times in which the cores of a runtime are busy and no execution ends."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.facts.problems import HANG_HISTORY_SECONDS
from neuron_exporter.metrics.report_period import MIN_LIFETIME
from tests.support.reports import Harness, Samples, cores, executions, group, report, runtime

PERIOD = 5.0
GAP = "neuron_execution_gap_seconds"
LONGEST = "neuron_execution_gap_max_seconds"
ALL_CORES = dict.fromkeys(("_0", "_1", "_2", "_3"), 0.0)


def working(
    pid: int = 1,
    tag: str = "a",
    completed: float = 0,
    core: int = 0,
    busy: float = 90.0,
    **ends: Any,
) -> dict[str, Any]:
    """Return a runtime that keeps a core busy."""
    return runtime(
        pid,
        tag,
        neuroncore_counters=cores(**{**ALL_CORES, f"_{core}": busy}),
        execution_stats=executions(completed, **ends),
    )


class Gaps:
    """A collector, and the gaps of its last report by tag."""

    def __init__(self) -> None:
        self.harness = Harness()

    def after(self, *runtimes: dict[str, Any], reports: int = 1) -> dict[str, Any]:
        """Return the gaps after this many equal reports."""
        for _ in range(reports):
            collected = self.harness.collect(report(*runtimes))
        samples = Samples(collected.snapshot)
        self.longest = {tag: value for (tag,), value in samples.values(LONGEST).items()}
        return {tag: value for (tag,), value in samples.values(GAP).items()}


def test_gap_grows_until_an_execution_ends() -> None:
    gaps = Gaps()
    seen = [gaps.after(working(completed=n))["a"] for n in (1, 0, 0, 0, 2, 0)]
    assert seen == [0, 5, 10, 15, 0, 5]
    assert gaps.longest == {"a": 20}


@pytest.mark.parametrize("status", ["timed_out", "completed_with_err", "invented_by_a_new_sdk"])
def test_any_end_of_an_execution_ends_a_gap(status: str) -> None:
    gaps = Gaps()
    gaps.after(working(), reports=4)
    assert gaps.after(working(**{status: 1})) == {"a": 0}


@pytest.mark.parametrize("status", ["failed_to_queue", "incorrect_input"])
def test_executions_that_never_ran_do_not_end_a_gap(status: str) -> None:
    gaps = Gaps()
    gaps.after(working(), reports=4)
    assert gaps.after(working(**{status: 1})) == {"a": 20}


def test_idle_cores_end_a_gap() -> None:
    gaps = Gaps()
    gaps.after(working(), reports=4)
    assert gaps.after(working(busy=50)) == {"a": 0}
    assert gaps.after(working(busy=51)) == {"a": 5}
    assert gaps.longest == {}


def test_first_report_knows_no_gap() -> None:
    """An exporter that starts during an execution does not know when it began: neither its gap
    nor its length."""
    gaps = Gaps()
    assert gaps.after(working()) == {"a": 0}
    gaps.after(working(completed=1))
    assert gaps.longest == {}
    gaps.after(working(), reports=9)
    gaps.after(working(completed=1))
    assert gaps.longest == {"a": 50}


def test_failure_at_the_end_of_a_gap_is_no_history() -> None:
    """A hang that ends in a time-out must not raise the limits for the next one."""
    gaps = Gaps()
    gaps.after(working(completed=1), reports=2)
    gaps.after(working(), reports=99)
    gaps.after(working(timed_out=1))
    assert gaps.longest == {"a": 5}
    gaps.after(working(), reports=3)
    gaps.after(working(completed_with_num_err=1))
    assert gaps.longest == {"a": 20}


def test_history_ends_after_six_hours() -> None:
    gaps = Gaps()
    gaps.after(working(completed=1))
    gaps.after(working(), reports=59)
    gaps.after(working(completed=1))
    assert gaps.longest == {"a": 300}
    for _ in range(HANG_HISTORY_SECONDS // 900):
        gaps.harness.now += 900 - 2 * PERIOD
        gaps.after(working(completed=1), reports=2)
        assert gaps.longest == {"a": 300}
    gaps.harness.now += 900
    gaps.after(working(completed=1))
    assert gaps.longest == {"a": 5}
    gaps.harness.now += HANG_HISTORY_SECONDS + 2 * 900
    gaps.after(working(busy=0))
    assert gaps.longest == {}


# Several runtimes


def test_equal_labels_show_the_longest_gap() -> None:
    gaps = Gaps()
    gaps.after(working(1, "a", 1), working(2, "a", 1, core=1))
    assert gaps.after(working(1, "a", 0), working(2, "a", 1, core=1), reports=6) == {"a": 30}


def test_execution_of_another_runtime_on_a_shared_core_counts() -> None:
    gaps = Gaps()
    hung, well = working(1, "hung"), working(2, "well", 1)
    elsewhere = working(3, "elsewhere", core=1)
    assert gaps.after(hung, well, elsewhere, reports=5) == {"hung": 0, "well": 0, "elsewhere": 20}


def test_shares_of_a_core_are_summed() -> None:
    """Neither of two runtimes keeps their core busy for half of the time."""
    gaps = Gaps()
    both = working(1, "a", busy=30), working(2, "b", busy=30)
    assert gaps.after(*both, reports=3) == {"a": 10, "b": 10}


def test_new_process_has_no_gap() -> None:
    """Neither does one that returns after a report without it."""
    gaps = Gaps()
    gaps.after(working(1), reports=9)
    assert gaps.after(working(2)) == {"a": 0}
    gaps.after(working(2), reports=9)
    gaps.after()
    assert gaps.after(working(2)) == {"a": 0}


# Missing readings


UNREADABLE = {
    "executions": {"execution_stats": group("failed", execution_summary={"completed": 0})},
    "no executions": {"execution_stats": None},
    "no statuses": {"execution_stats": group()},
    "a status": {"execution_stats": executions(None, timed_out=0)},  # type: ignore[arg-type]
    "cores": {"neuroncore_counters": group("failed", neuroncores_in_use={})},
    "a core": {"neuroncore_counters": cores(**{**ALL_CORES, "_0": None})},
}


@pytest.mark.parametrize("groups", UNREADABLE.values(), ids=UNREADABLE)
def test_gap_is_absent_while_it_is_unknown(groups: dict[str, Any]) -> None:
    """It then goes on by the time that the next report covers, and is no history."""
    gaps = Gaps()
    gaps.after(working(completed=1))
    gaps.after(working(), reports=4)
    unreadable = working()
    unreadable["report"] |= groups
    assert gaps.after(unreadable) == {}
    assert gaps.after(working()) == {"a": 25}
    gaps.after(working(completed=1))
    assert gaps.longest == {}


def test_history_ignores_executions_of_others_on_a_shared_core() -> None:
    """A runtime with long executions would otherwise seem to have short ones."""
    gaps = Gaps()
    for number in range(25):
        long, short = (int(number % every == 0) for every in (10, 4))
        current = gaps.after(working(1, "a", long), working(2, "b", short))
    assert current == {"a": 0, "b": 0}
    assert gaps.longest == {"a": 50, "b": 20}


def test_shared_core_is_unknown_with_an_unreadable_runtime() -> None:
    gaps = Gaps()
    unreadable = working(2, "b")
    unreadable["report"]["execution_stats"] = group("failed")
    assert gaps.after(working(1, "a"), unreadable) == {}
    assert gaps.after(working(1, "a"), unreadable, working(3, "c", core=1)) == {"c": 0}


@pytest.mark.parametrize("pause", [2 * PERIOD, MIN_LIFETIME])
def test_lost_reports_add_only_what_the_next_one_covers(pause: float) -> None:
    gaps = Gaps()
    gaps.after(working(), reports=5)
    gaps.harness.now += pause - PERIOD
    assert gaps.after(working()) == {"a": 25}


def test_gap_begins_anew_after_an_outage() -> None:
    """Executions may have ended in the meantime, and longer ones than the reports show."""
    gaps = Gaps()
    gaps.after(working(completed=1))
    gaps.after(working(), reports=9)
    gaps.harness.now += MIN_LIFETIME
    assert gaps.after(working()) == {"a": 0}
    gaps.after(working(completed=1))
    assert gaps.longest == {}


def test_first_report_of_a_restarted_source_covers_little() -> None:
    gaps = Gaps()
    gaps.after(working(), reports=5)
    first = working()
    first["report"]["execution_stats"]["period"] = 0.05
    assert gaps.after(first) == {"a": 20.05}
