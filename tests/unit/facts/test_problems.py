"""Problems of machines: their order, and when busy cores hang."""

from __future__ import annotations

import re
from operator import attrgetter

import pytest

from neuron_exporter.facts.problems import BY_REASON, PROBLEMS, HangLimits, hang_limits


def test_each_problem_has_its_own_reason_and_rank_and_the_worst_is_first() -> None:
    assert list(PROBLEMS) == sorted(PROBLEMS, key=attrgetter("rank"), reverse=True)
    assert len(BY_REASON) == len({problem.rank for problem in PROBLEMS}) == len(PROBLEMS)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason) for reason in BY_REASON)


def test_a_critical_problem_is_worse_than_a_warning() -> None:
    severities = [problem.severity for problem in PROBLEMS]
    assert severities == sorted(severities, key=["critical", "warning", "info"].index)


@pytest.mark.parametrize(
    ("longest", "limits"),
    [
        (None, HangLimits(900, 900)),
        (0.01, HangLimits(300, 900)),
        (360, HangLimits(1080, 1800)),
        (600, HangLimits(1800, 3000)),
    ],
)
def test_a_runtime_with_long_executions_hangs_later(
    longest: float | None, limits: HangLimits
) -> None:
    assert hang_limits(longest) == limits
