"""What recorded reports say of themselves holds in what we make of them."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests import captures
from tests.support.exporter import running_exporter
from tests.support.waiting import wait_for

WITH_BREAKDOWN = {
    name: line
    for name, line in captures.reports(captures.all_captures()).items()
    # The examples in AWS's documentation are made up, and their sums do not add up.
    if not name.startswith("doc_") and b'"usage_breakdown":{"host"' in line
}


def test_there_are_recordings_with_a_breakdown() -> None:
    """The next test tests something wherever the recordings are."""
    if not captures.all_captures():
        pytest.skip(captures.MISSING)
    assert len(WITH_BREAKDOWN) >= 2


@pytest.mark.parametrize("line", WITH_BREAKDOWN.values(), ids=WITH_BREAKDOWN)
def test_the_parts_are_the_whole(line: bytes, tmp_path: Path) -> None:
    """Through /metrics: device memory of all cores is that of all runtimes, and each runtime's host
    memory is the sum of what is in it."""
    path = tmp_path / "report.ndjson"
    path.write_bytes(line + b"\n")
    expected = sum(
        runtime["report"]["memory_used"]["neuron_runtime_used_bytes"]["neuron_device"]
        for runtime in json.loads(line)["neuron_runtime_data"]
    )
    config = {
        "source": {"kind": "file", "path": str(path), "replay": {"at_end": "repeat"}},
        "prometheus": {"runtime_labels": ["runtime_tag", "pid"]},
    }
    with running_exporter(tmp_path, config) as exporter:
        families = wait_for(
            lambda: (f := exporter.families()).get("neuroncore_utilization_ratio") and f
        )
    on_cores = sum(
        sample.value
        for name, family in families.items()
        if name.startswith("neuroncore_memory_usage_")
        for sample in family.samples
    )
    used: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for sample in families["neuron_runtime_memory_used_bytes"].samples:
        key = sample.labels["runtime_tag"], sample.labels["pid"]
        used[key][sample.labels["memory_location"]] = sample.value
    parts: dict[tuple[str, str], float] = defaultdict(float)
    for sample in families["neuron_runtime_host_memory_used_bytes"].samples:
        parts[sample.labels["runtime_tag"], sample.labels["pid"]] += sample.value
    assert on_cores == expected == sum(each["neuron_device"] for each in used.values())
    assert parts == {key: each["host"] for key, each in used.items()}
