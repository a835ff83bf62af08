"""The assumptions that the exporter makes about Neuron and that no document settles.

`docs/verification.md` has the same table, in this order.
"""

from __future__ import annotations

from collections.abc import Iterator

from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import Assumption, Judgement, Result
from neuron_exporter.doctor.acceptance.judges import (
    driver_files,
    ecc,
    numbering,
    stream,
    workload,
)

ASSUMPTIONS = tuple(
    each
    for module in (stream, ecc, numbering, workload, driver_files)
    for each in vars(module).values()
    if isinstance(each, Assumption)
)


def judge_all(evidence: Evidence) -> Iterator[tuple[Assumption, Judgement]]:
    """Judge each assumption. Never raises."""
    for assumption in ASSUMPTIONS:
        try:
            judgement = assumption.judge(evidence)
        except Exception as error:  # noqa: BLE001 (a bug in one judge must not stop the others)
            reason = f"the check itself failed: {type(error).__name__}; report this bug"
            judgement = Judgement(Result.NOT_SEEN, reason)
        yield assumption, judgement
