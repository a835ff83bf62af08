"""Recorded numbers of idle cores, by what is known about their allocation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promtool import check
from tests.support.rule_frames import STEP, Frame

pytestmark = pytest.mark.usefixtures("needs_prometheus")

FRAMES_PER_HOUR = 3600 // STEP
HEALTHY: Frame = {"neuron_exporter_up": 1.0}
BUSY, IDLE = 0.5, 0.01
IDLE_CORES = "instance:neuroncores_idle:count5m"
FREE_IDLE_CORES = "instance:neuroncores_free_idle:count5m"


def cores(*shares: float, **allocated: str) -> Frame:
    """Return a machine with these utilizations.

    Args:
        allocated: the pod of each core, such as `c0="a"`, empty for a free core. Without any, the
            allocation is unknown.
    """
    utilization = {
        f'neuroncore_utilization_ratio{{neuroncore="{core}",instance_id="i-1"}}': share
        for core, share in enumerate(shares)
    }
    allocation = {
        f'neuroncore_allocated{{neuroncore="{core[1:]}",pod="{pod}",instance_id="i-1"}}': float(
            bool(pod)
        )
        for core, pod in allocated.items()
    }
    return {**HEALTHY, **utilization, **allocation}


def recorded(series: str, *values: float, seconds: int = 1800) -> dict[str, object]:
    """Return an expectation: the values of a recorded series, of one machine at most."""
    samples = [{"labels": "{}", "value": value} for value in values]
    return {"expr": f"sum({series})", "eval_time": f"{seconds}s", "exp_samples": samples}


def test_idle_cores_that_are_allocated_or_free(tmp_path: Path) -> None:
    """Core 0 is busy; 1 is allocated, 2 and 3 are free."""
    frame = cores(BUSY, IDLE, IDLE, 0.0, c0="a", c1="b", c2="", c3="")
    check(
        tmp_path,
        {"a:9415": [frame] * FRAMES_PER_HOUR},
        recorded(IDLE_CORES, 3),
        recorded(FREE_IDLE_CORES, 2),
    )


def test_no_core_is_idle(tmp_path: Path) -> None:
    """The numbers are 0, not absent."""
    frame = cores(BUSY, BUSY, c0="a", c1="b")
    check(
        tmp_path,
        {"a:9415": [frame] * FRAMES_PER_HOUR},
        recorded(IDLE_CORES, 0),
        recorded(FREE_IDLE_CORES, 0),
    )


def test_free_cores_are_unknown_without_allocations(tmp_path: Path) -> None:
    check(
        tmp_path,
        {"a:9415": [cores(BUSY, IDLE)] * FRAMES_PER_HOUR},
        recorded(IDLE_CORES, 1),
        recorded(FREE_IDLE_CORES),
    )


def test_core_is_free_five_minutes_after_its_pod_has_gone(tmp_path: Path) -> None:
    """While both owners of a core are in the window, it is counted once."""
    allocated, replaced, freed = (
        cores(IDLE, c0="a"),
        cores(IDLE, c0="b"),
        cores(IDLE, c0=""),
    )
    check(
        tmp_path,
        {"a:9415": [*[allocated] * 40, *[replaced] * 40, *[freed] * FRAMES_PER_HOUR]},
        recorded(FREE_IDLE_CORES, 0, seconds=660),
        recorded(FREE_IDLE_CORES, 0, seconds=1260),
        recorded(FREE_IDLE_CORES, 1, seconds=1800),
        recorded(IDLE_CORES, 1, seconds=660),
    )
