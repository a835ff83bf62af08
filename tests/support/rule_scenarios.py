"""An hour of a faulty machine beside a healthy one, and the alerts that fire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.promql_alarms import check_with_alarms
from tests.support.promtool import alerts_fired, alerts_firing, check
from tests.support.rule_frames import STEP, Frames, simulate, with_failed_scrapes

FRAMES_PER_HOUR = 240

ONSET = 40
"""Frame at which a fault begins."""

MISSED = (ONSET + 7, ONSET + 60, ONSET + 85, ONSET + 105)
"""Frames of failed scrapes."""

BUSY = ("--scenario", "training")


def healthy_hour(folder: Path) -> Frames:
    """Return the frames of a healthy machine that trains."""
    return simulate(folder, FRAMES_PER_HOUR, *BUSY)


def check_alerts(
    folder: Path,
    healthy: Frames,
    faulty: Frames,
    expectations: Mapping[int, tuple[str, ...]],
    missed: Sequence[int] = (),
) -> None:
    """Check which alerts and alarms fire at times after the onset, in seconds.

    At the end, the alerts of the last time fire, and no others than these have fired before.

    Args:
        missed: frames of failed scrapes. The alerts are checked with and without these, the alarms
            only with them.
    """
    last = list(expectations.values())[-1]
    ever = {name for names in expectations.values() for name in names}
    end = (len(faulty) - 1) * STEP
    expected = [
        alerts_firing(ONSET * STEP + after, *names) for after, names in expectations.items()
    ]
    expected += [alerts_firing(end, *last), alerts_fired(end, *ever)]
    if missed:
        check(folder, {"healthy:9415": healthy, "faulty:9415": faulty}, *expected)
        faulty = with_failed_scrapes(faulty, *missed)
    check_with_alarms(folder, {"healthy:9415": healthy, "faulty:9415": faulty}, *expected)
