"""Simulated reports."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.model import Group
from neuron_exporter.simulator.hardware import SIMULATED_TYPES, hardware
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests import captures
from tests.support.commands import Finished, run
from tests.support.simulated import SMALL, Report, groups, reports, runtimes

WriteConfiguration = Callable[..., str]

EVERY_GROUP = {
    "period": "5s",
    "neuron_runtimes": [
        {
            "tag_filter": ".*",
            "metrics": [
                {"type": "neuroncore_counters"},
                {"type": "memory_used"},
                {"type": "neuron_runtime_vcpu_usage"},
                {"type": "execution_stats"},
            ],
        }
    ],
    "system_metrics": [
        {"type": "vcpu_usage"},
        {"type": "memory_info"},
        {"type": "neuron_hw_counters"},
    ],
}


@pytest.fixture
def write_configuration(tmp_path: Path) -> WriteConfiguration:
    """Return a function that writes a neuron-monitor configuration and returns its path."""

    def write(document: Any) -> str:
        path = tmp_path / "neuron-monitor.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return write


def simulate(*flags: str, **more: Any) -> Finished:
    """Run the simulator at full speed."""
    return run("simulate", "--speed", "0", *flags, **more)


def paths(value: Any, at: str = "") -> set[str]:
    """Return all key paths of a report, without indices of cores and CPUs and percentiles."""
    found: set[str] = set()
    if isinstance(value, dict):
        for name, item in value.items():
            below = at + "." + re.sub(r"^(?:p?\d+|sg_\d+)$", "#", name)
            found |= {below} | paths(item, below)
    elif isinstance(value, list):
        found.update(*(paths(item, at + "[]") for item in value))
    return found


def recorded(name: str) -> Report:
    """Return a report of real hardware."""
    path = captures.FOLDER / f"{name}.ndjson"
    if not path.exists():
        pytest.skip(captures.MISSING)
    report: Report = json.loads(captures.lines(path)[0])
    return report


# Reports


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_reports_are_reproducible(scenario: str) -> None:
    flags = ("--scenario", scenario, "--instance-type", "inf2.24xlarge")
    assert reports(12, *flags) == reports(12, *flags)
    assert reports(12, *flags) != reports(12, *flags, "--seed", "1")


def test_output_is_reproducible() -> None:
    """The output does not depend on the process, such as on Python's hash seed."""
    flags = ("--scenario", "mixed", "--reports", "8", "--faults", "garbage,garbage@2")
    first, second = (simulate(*flags, environment={"PYTHONHASHSEED": seed}) for seed in "12")
    assert first == second
    assert first.status == 0


@pytest.mark.parametrize("instance_type", ["inf1.6xlarge", "trn1.32xlarge"])
def test_reports_are_consistent(instance_type: str) -> None:
    """Sums equal their parts, shares add up, and keys are ordered as by Go."""
    kind = hardware(instance_type)
    many = reports(30, "--instance-type", instance_type, "--scenario", "mixed")
    every_core = sorted(map(str, range(kind.cores)))
    for _, runtime in runtimes(many):
        used = runtime["report"]["memory_used"]["neuron_runtime_used_bytes"]
        by_core = used["usage_breakdown"]["neuroncore_memory_usage"]
        assert list(by_core) == sorted(by_core)
        assert used["host"] == sum(used["usage_breakdown"]["host"].values())
        assert used["neuron_device"] == sum(sum(each.values()) for each in by_core.values())
        listed = runtime["report"]["neuroncore_counters"]["neuroncores_in_use"]
        assert list(listed) == every_core
        assert all(0 <= core["neuroncore_utilization"] <= 100 for core in listed.values())
        stats = runtime["report"]["execution_stats"]
        for latency in stats["latency_stats"].values():
            assert (latency is None) is (stats["execution_summary"]["completed"] == 0)
            if latency is not None:
                assert list(latency) == ["p0", "p1", "p100", "p25", "p50", "p75", "p99"]
                rising = sorted(latency, key=lambda name: int(name[1:]))
                assert all(latency[a] <= latency[b] for a, b in pairwise(rising))
    for report in many[1:]:
        usage = report["system_data"]["vcpu_usage"]
        for shares in (usage["average_usage"], *usage["usage_data"].values()):
            assert sum(shares.values()) == pytest.approx(100)
        assert len(usage["usage_data"]) == kind.vcpus


@pytest.mark.parametrize("instance_type", SIMULATED_TYPES)
def test_instance_type(instance_type: str) -> None:
    """Counts are those of the instance type, and the instance id depends on the seed."""
    kind, flags = hardware(instance_type), ("--instance-type", instance_type)
    (one,), (other,) = reports(1, *flags), reports(1, *flags, "--seed", "7")
    info = one["neuron_hardware_info"]
    assert info["neuron_device_count"] == kind.devices
    assert info["neuroncore_per_device_count"] == kind.cores_per_device
    assert one["instance_info"]["instance_type"] == instance_type
    assert re.fullmatch(r"i-[0-9a-f]{17}", one["instance_info"]["instance_id"])
    assert one["instance_info"]["instance_id"] != other["instance_info"]["instance_id"]


@pytest.mark.parametrize(
    ("instance_type", "capture", "default"),
    [
        ("inf1.xlarge", "inf1.xlarge_2023-02_idle", False),
        ("trn1.2xlarge", "trn1.2xlarge_2026-09_idle_first_record_default_config", True),
    ],
)
def test_keys_of_a_first_report(
    write_configuration: WriteConfiguration, instance_type: str, capture: str, default: bool
) -> None:
    """The first report of an idle machine has the keys of a recorded one."""
    config = () if default else ("-c", write_configuration(EVERY_GROUP))
    (report,) = reports(1, "--instance-type", instance_type, "--scenario", "idle", *config)
    assert paths(report) == paths(recorded(capture))


@pytest.mark.parametrize(
    ("instance_type", "capture"),
    [
        ("inf1.xlarge", "inf1.xlarge_2023-02_one_runtime"),
        ("inf2.xlarge", "inf2.xlarge_2026-06_under_load"),
    ],
)
def test_keys_of_groups(
    write_configuration: WriteConfiguration, instance_type: str, capture: str
) -> None:
    """Each group has the keys of a recorded one (except for models)."""
    real = dict(groups(recorded(capture)))
    _, report = reports(2, "--instance-type", instance_type, "-c", write_configuration(EVERY_GROUP))
    for name, group in groups(report):
        if name in real:
            models = {"loaded_models": []} if name == "memory_used" else {}
            assert paths({**group, **models}) == paths({**real[name], **models}), name
    assert len(real) >= 5


# Periods


def test_first_report_covers_milliseconds() -> None:
    first, *others = reports(6, "--instance-type", "inf2.xlarge")
    assert all(0 < group["period"] < 0.1 for _, group in groups(first))
    for report in others:
        assert all(group["period"] == pytest.approx(5, abs=0.01) for _, group in groups(report))


def test_default_groups() -> None:
    """Without -c there are no hardware counters, and no CPU shares in the first report."""
    first, second = reports(2, "--instance-type", "inf2.xlarge")
    assert set(first["system_data"]) == {"memory_info"}
    assert set(second["system_data"]) == {"memory_info", "vcpu_usage"}


@pytest.mark.parametrize("flag", ["-c", "--config-file"])
def test_innermost_period(write_configuration: WriteConfiguration, flag: str) -> None:
    document = {
        "period": "1s",
        "neuron_runtimes": [
            {"period": "3s", "metrics": [{"type": "memory_used"}]},
            {"metrics": [{"type": "execution_stats", "period": "10s"}]},
        ],
        "system_metrics": [{"type": "vcpu_usage"}, {"type": "memory_info", "period": "2s"}],
        "unknown": {"ignored": True},
    }
    assert parse([flag, write_configuration(document)]).periods == {
        Group.MEMORY_USED: 3,
        Group.EXECUTION_STATS: 10,
        Group.VCPU_USAGE: 1,
        Group.MEMORY_INFO: 2,
    }


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("10s", 10), ("007s", 7), ("1.0s", 5), ("0.5s", 5), ("5.0s", 5), ("0s", 5),
     ("1m", 5), ("7", 5), ("-1s", 5), (" 1s", 5), ("", 5), ("9" * 30 + "s", 5), (None, 5)],
)  # fmt: skip
def test_period_formats(
    write_configuration: WriteConfiguration, text: str | None, seconds: int
) -> None:
    """Only whole seconds are valid; everything else silently means 5 s."""
    document = {"period": text, "system_metrics": [{"type": "memory_info"}]}
    assert parse(["-c", write_configuration(document)]).periods == {Group.MEMORY_INFO: seconds}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"period": "500ms", "system_metrics": [{"type": "memory_info"}]},
        {"neuron_runtimes": None, "system_metrics": None},
        {"neuron_runtimes": [{"metrics": None}], "system_metrics": []},
    ],
)
def test_configurations_without_reports(
    write_configuration: WriteConfiguration, document: Any
) -> None:
    """Periods in milliseconds, and a configuration without groups, print nothing."""
    options = parse(["-c", write_configuration(document)])
    assert options.periods == {}
    assert Machine(options).next_at is None


def test_groups_with_their_own_periods(write_configuration: WriteConfiguration) -> None:
    metrics = [{"type": "memory_info", "period": "2s"}, {"type": "vcpu_usage", "period": "5s"}]
    machine = Machine(parse(["-c", write_configuration({"system_metrics": metrics})]))
    due = []
    for number in range(6):
        at = machine.next_at
        due.append((at, sorted(machine.report(number)["system_data"])))
    memory, vcpu = "memory_info", "vcpu_usage"
    both = [memory, vcpu]
    assert due == [
        (0, both),
        (2, [memory]),
        (4, [memory]),
        (5, [vcpu]),
        (6, [memory]),
        (8, [memory]),
    ]


def test_groups_that_are_not_requested(write_configuration: WriteConfiguration) -> None:
    """A report has only the requested groups, and always the machine."""
    document = {**EVERY_GROUP, "system_metrics": [{"type": "memory_info"}]}
    for report in reports(2, "-c", write_configuration(document)):
        assert set(report["system_data"]) == {"memory_info"}
        assert report["instance_info"]["instance_id"]
        assert report["neuron_hardware_info"]["neuron_device_count"] == 16


# Processes


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_number_of_runtimes(scenario: str, count: int) -> None:
    """Each runtime has its own id and at least one core, even with more runtimes than cores."""
    flags = ("--scenario", scenario, "--runtimes", str(count), "--instance-type", "inf2.24xlarge")
    (report,) = reports(1, *flags)
    entries = report["neuron_runtime_data"]
    assert len({entry["pid"] for entry in entries}) == len(entries) == count
    for entry in entries:
        memory = entry["report"]["memory_used"]["neuron_runtime_used_bytes"]["usage_breakdown"]
        assert set(memory["neuroncore_memory_usage"]) <= set(map(str, range(12)))
        assert memory["neuroncore_memory_usage"]


@pytest.mark.parametrize(
    ("scenario", "count"),
    [("idle", 0), ("inference", 4), ("training", 4), ("compile", 0), ("mixed", 4)],
)
def test_default_number_of_runtimes(scenario: str, count: int) -> None:
    (report,) = reports(1, "--scenario", scenario)
    assert len(report["neuron_runtime_data"]) == count


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_tag(scenario: str) -> None:
    """--tag applies to every runtime, helpers included."""
    tagged = reports(12, *SMALL, "--scenario", scenario, "--runtimes", "2", "--tag", "housing")
    tags = {runtime["neuron_runtime_tag"] for _, runtime in runtimes(tagged)}
    assert tags == {"housing"}


def test_helpers() -> None:
    """Helpers run for at most three reports, and some share the tag of a long-running runtime."""
    alive: dict[int, list[int]] = {}
    tags: dict[int, str] = {}
    for number, runtime in runtimes(reports(60, "--scenario", "mixed")):
        alive.setdefault(runtime["pid"], []).append(number)
        tags[runtime["pid"]] = runtime["neuron_runtime_tag"]
    staying = {pid for pid, numbers in alive.items() if numbers == list(range(60))}
    helpers = alive.keys() - staying
    assert len(staying) == 4
    assert len(helpers) >= 5
    assert all(alive[pid] == list(range(alive[pid][0], alive[pid][-1] + 1)) for pid in helpers)
    assert all(len(alive[pid]) <= 3 for pid in helpers)
    shared = [tags[pid] for pid in staying]
    assert len(set(shared)) < len(shared)
    assert {tags[pid] for pid in helpers} & set(shared)
    assert {tags[pid] for pid in helpers} - set(shared)
