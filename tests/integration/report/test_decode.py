"""Any value at any path of a report damages nothing else."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_exporter.report import ReportError, decode
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support.reports import Harness, cores, ecc, executions, group, memory, report, runtime


def complete_report() -> dict[str, Any]:
    """Return a report with every group."""
    return report(
        runtime(
            1,
            "a",
            neuroncore_counters=cores(_0=50, _1=0),
            execution_stats=executions(3, {"p50": 0.1, "p99": 0.2}, {"p50": 0.1}),
            memory_used=memory({"0": {"tensors": 5}}, host=7),
            neuron_runtime_vcpu_usage=group(vcpu_usage={"user": 1, "system": 2}),
        ),
        runtime(2, "b", neuroncore_counters=cores(_2=20), execution_stats=executions(1)),
        system_data={
            "memory_info": group(memory_total_bytes=9, memory_used_bytes=1),
            "vcpu_usage": group(
                average_usage=dict.fromkeys(
                    ("user", "nice", "system", "idle", "io_wait", "irq", "soft_irq"), 1
                ),
                usage_data={"0": {"user": 1}},
            ),
            "neuron_hw_counters": ecc({"mem_ecc_corrected": 1}, {}),
        },
    )


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a document."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths(item, (*path, key))
    if isinstance(value, list):
        for at, item in enumerate(value):
            found += paths(item, (*path, at))
    return found


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of the document with another value at a path."""
    changed = copy.deepcopy(document)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


GROUPS = {
    "neuroncore_counters",
    "execution_stats",
    "memory_used",
    "neuron_runtime_vcpu_usage",
    "memory_info",
    "vcpu_usage",
    "neuron_hw_counters",
}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([2**63, -1, 1e308, math.nan, math.inf, "", "p50", 65536]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)


def check(document: Any, path: tuple[Any, ...], value: Any) -> None:
    """Check that a value at a path causes no error, no infinity and no loss in other groups."""
    harness, other = Harness(), Harness()
    line = json.dumps(with_value(document, path, value)).encode()
    try:
        read = decode(line).report
    except ReportError:
        return  # the line is not a report any more
    collected = harness.collector.collect(read, *_now())
    for series, number in zip(collected.snapshot.shape, collected.snapshot.values, strict=True):
        if isinstance(number, tuple):
            assert all(math.isfinite(part) for pair in number for part in pair), series
        elif number is not None:
            assert math.isfinite(number), series
    touched = path[3:4] if path[0] == "neuron_runtime_data" else path[1:2]
    if not GROUPS.intersection(touched) or path[-1] in (*touched, "error", "period"):
        return
    if path[-1] == "neuron_device_index" and isinstance(value, int):
        return  # the devices that are listed decide which idle cores exist
    before = other.collector.collect(decode(json.dumps(document).encode()).report, *_now())
    for name in GROUPS.difference(touched):
        assert _of_group(collected.snapshot, name) == _of_group(before.snapshot, name)


def _now() -> tuple[Any, ...]:
    from neuron_exporter.model import Machine as Identity
    from neuron_exporter.model import Owners, Timestamp

    return Timestamp(1e9, 1e3), Identity(), Owners()


def _of_group(snapshot: Any, name: str) -> dict[Any, Any]:
    return {
        (series.spec.name, series.labels): value
        for series, value in zip(snapshot.shape, snapshot.values, strict=True)
        if series.spec.group == name
        and value is not None
        # The runtime that uses a core, and its execution gap, come from two groups.
        and series.spec.name not in ("neuroncore_runtime_info", "neuron_execution_gap_seconds")
    }


@settings(max_examples=400)
@given(st.sampled_from(paths(complete_report())), values)
def test_any_value_at_any_path(path: tuple[Any, ...], value: Any) -> None:
    check(complete_report(), path, value)


@given(st.integers(0, 3), st.data())
def test_any_value_in_simulated_reports(seed: int, data: st.DataObject) -> None:
    options = parse(["--instance-type", "inf1.xlarge", "--scenario", "mixed", "--seed", str(seed)])
    document = Machine(options).report(0)
    path = data.draw(st.sampled_from(paths(document)))
    check(document, path, data.draw(values))
