"""The Prometheus rules where scrapes fail, jobs are of others, and clusters share a Prometheus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.promtool import alerts_firing, check
from tests.support.rule_frames import STEP, Frame

pytestmark = pytest.mark.usefixtures("needs_prometheus")

HOUR = 3600 // STEP
BUILD = 'neuron_exporter_build_info{version="1"}'
WELL: Frame = {"neuron_exporter_up": 1.0, BUILD: 1.0}
LOST = 'neuron_exporter_sink_dropped_requests_total{sink="cloudwatch",reason="refused"}'


def test_a_loss_is_told_once(tmp_path: Path) -> None:
    """A loss of hours ago is no new one, though the scrape of an hour ago was missed."""
    lost: Frame = {**WELL, LOST: 3.0}
    frames: list[Frame | None] = [*[WELL] * 20, *[lost] * (4 * HOUR)]
    missed = 20 + 2 * HOUR
    # Rules are evaluated at every second scrape.
    assert missed % 2 == 0
    frames[missed] = None
    frames[missed + 61 : missed + 67] = [None] * 6
    check(
        tmp_path,
        {"ill:9415": frames},
        alerts_firing(21 * STEP + 60, "NeuronPublishLoss"),
        {
            "expr": 'count(count_over_time(ALERTS{alertname="NeuronPublishLoss"}[2h]))',
            "eval_time": f"{(20 + 4 * HOUR) * STEP - STEP}s",
            "exp_samples": [],
        },
    )
