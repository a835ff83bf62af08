"""The assumptions, judged by reports with each fault."""

from __future__ import annotations

import pytest

from neuron_exporter.doctor.acceptance.assumptions import ASSUMPTIONS, judge_all
from neuron_exporter.simulator.faults import FAULTS
from tests.support.evidence import evidence_of
from tests.support.simulated import SMALL, reports


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_no_judge_fails_on_faulty_reports(fault: str) -> None:
    """Whatever the simulator reports, each assumption is judged by its own evidence."""
    documents = reports(20, *SMALL, "--scenario", "mixed", "--faults", fault)
    judged = [judgement for _, judgement in judge_all(evidence_of(*documents))]
    assert len(judged) == len(ASSUMPTIONS)
    assert not [each for each in judged if "the check itself failed" in each.evidence]
