"""The simulator: reports that a machine could have printed, and faults when they are asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.model import Group
from neuron_exporter.report import decode
from neuron_exporter.simulator.hardware import SIMULATED, hardware
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests import captures
from tests.support.commands import Finished, run
from tests.support.simulated import SMALL, Report, groups, reports, runtimes

Written = Callable[..., str]

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
def written(tmp_path: Path) -> Written:
    """Write a configuration of neuron-monitor; gives its path."""

    def write(document: Any) -> str:
        path = tmp_path / "neuron-monitor.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    return write


def simulate(*flags: str, **more: Any) -> Finished:
    """Run the simulator as fast as it can."""
    return run("simulate", "--speed", "0", *flags, **more)


def paths(value: Any, at: str = "") -> set[str]:
    """Every key in a report; indices of cores and CPUs, and percentiles, are one key."""
    found: set[str] = set()
    if isinstance(value, dict):
        for name, item in value.items():
            below = at + "." + re.sub(r"^(?:p?\d+|sg_\d+)$", "#", name)
            found |= {below} | paths(item, below)
    elif isinstance(value, list):
        found.update(*(paths(item, at + "[]") for item in value))
    return found


def recorded(name: str) -> Report:
    """A report of real hardware."""
    path = captures.FOLDER / f"{name}.ndjson"
    if not path.exists():
        pytest.skip(captures.MISSING)
    report: Report = json.loads(captures.lines(path)[0])
    return report


# Reports


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_same_flags_and_seed_give_the_same_reports(scenario: str) -> None:
    """A run can be repeated: flags and seed decide everything."""
    flags = ("--scenario", scenario, "--instance-type", "inf2.24xlarge")
    assert reports(12, *flags) == reports(12, *flags)
    assert reports(12, *flags) != reports(12, *flags, "--seed", "1")


def test_another_process_gives_the_same_bytes() -> None:
    """Nothing of the process itself, such as Python's hash seed, is in the stream."""
    flags = ("--scenario", "mixed", "--reports", "8", "--faults", "garbage,garbage@2")
    first, second = (simulate(*flags, environment={"PYTHONHASHSEED": seed}) for seed in "12")
    assert first == second
    assert first.status == 0


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("instance_type", SIMULATED)
def test_every_report_is_read_without_a_fault(instance_type: str, scenario: str) -> None:
    """What the simulator prints is a report in every field, on every machine."""
    for report in reports(11, "--instance-type", instance_type, "--scenario", scenario):
        assert decode(json.dumps(report).encode()).faults == ()


@pytest.mark.parametrize("instance_type", ["inf1.6xlarge", "trn1.32xlarge"])
def test_reports_keep_what_real_ones_keep(instance_type: str) -> None:
    """Sums are the sums of their parts, shares add up, and Go's order of keys is kept."""
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


@pytest.mark.parametrize("instance_type", SIMULATED)
def test_the_machine_is_the_one_that_was_asked_for(instance_type: str) -> None:
    """Counts of devices and cores are those of the instance type; its id depends on the seed."""
    kind, flags = hardware(instance_type), ("--instance-type", instance_type)
    (one,), (other,) = reports(1, *flags), reports(1, *flags, "--seed", "7")
    told = one["neuron_hardware_info"]
    assert told["neuron_device_count"] == kind.devices
    assert told["neuroncore_per_device_count"] == kind.cores_per_device
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
def test_a_first_report_has_the_keys_of_a_recorded_one(
    written: Written, instance_type: str, capture: str, default: bool
) -> None:
    """An idle machine's first report is, key by key, what real hardware printed."""
    config = () if default else ("-c", written(EVERY_GROUP))
    (report,) = reports(1, "--instance-type", instance_type, "--scenario", "idle", *config)
    assert paths(report) == paths(recorded(capture))


@pytest.mark.parametrize(
    ("instance_type", "capture"),
    [
        ("inf1.xlarge", "inf1.xlarge_2023-02_one_runtime"),
        ("inf2.xlarge", "inf2.xlarge_2026-06_under_load"),
    ],
)
def test_groups_have_the_keys_of_recorded_ones(
    written: Written, instance_type: str, capture: str
) -> None:
    """Each group has the fields of its generation, no more and no fewer (models aside)."""
    real = dict(groups(recorded(capture)))
    _, report = reports(2, "--instance-type", instance_type, "-c", written(EVERY_GROUP))
    for name, group in groups(report):
        if name in real:
            models = {"loaded_models": []} if name == "memory_used" else {}
            assert paths({**group, **models}) == paths({**real[name], **models}), name
    assert len(real) >= 5


# Periods


def test_the_first_report_is_short_and_the_others_are_not() -> None:
    """The first report comes at once and covers next to nothing, as neuron-monitor's does."""
    first, *others = reports(6, "--instance-type", "inf2.xlarge")
    assert all(0 < group["period"] < 0.1 for _, group in groups(first))
    for report in others:
        assert all(group["period"] == pytest.approx(5, abs=0.01) for _, group in groups(report))


def test_the_default_configuration_is_neuron_monitors() -> None:
    """Without -c there are no hardware counters, and no CPU shares in the first report."""
    first, second = reports(2, "--instance-type", "inf2.xlarge")
    assert set(first["system_data"]) == {"memory_info"}
    assert set(second["system_data"]) == {"memory_info", "vcpu_usage"}


@pytest.mark.parametrize("flag", ["-c", "--config-file"])
def test_the_innermost_period_wins(written: Written, flag: str) -> None:
    """A group's own period goes before its list's, and that before the file's."""
    document = {
        "period": "1s",
        "neuron_runtimes": [
            {"period": "3s", "metrics": [{"type": "memory_used"}]},
            {"metrics": [{"type": "execution_stats", "period": "10s"}]},
        ],
        "system_metrics": [{"type": "vcpu_usage"}, {"type": "memory_info", "period": "2s"}],
        "unknown": {"to": "us"},
    }
    assert parse([flag, written(document)]).periods == {
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
def test_only_whole_seconds_are_understood(
    written: Written, text: str | None, seconds: int
) -> None:
    """neuron-monitor takes whole seconds, and silently 5 s for everything else."""
    document = {"period": text, "system_metrics": [{"type": "memory_info"}]}
    assert parse(["-c", written(document)]).periods == {Group.MEMORY_INFO: seconds}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"period": "500ms", "system_metrics": [{"type": "memory_info"}]},
        {"neuron_runtimes": None, "system_metrics": None},
        {"neuron_runtimes": [{"metrics": None}], "system_metrics": []},
    ],
)
def test_milliseconds_and_no_groups_print_nothing(written: Written, document: Any) -> None:
    """A period in milliseconds makes neuron-monitor print nothing at all; so does no group."""
    options = parse(["-c", written(document)])
    assert options.periods == {}
    assert Machine(options).next_at is None


def test_a_report_holds_the_groups_that_are_due(written: Written) -> None:
    """Groups with periods of their own come when they are due, and only then."""
    metrics = [{"type": "memory_info", "period": "2s"}, {"type": "vcpu_usage", "period": "5s"}]
    machine = Machine(parse(["-c", written({"system_metrics": metrics})]))
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


def test_groups_that_nobody_asks_for_are_left_out(written: Written) -> None:
    """A report holds what the configuration names, and always who the machine is."""
    document = {**EVERY_GROUP, "system_metrics": [{"type": "memory_info"}]}
    for report in reports(2, "-c", written(document)):
        assert set(report["system_data"]) == {"memory_info"}
        assert report["instance_info"]["instance_id"]
        assert report["neuron_hardware_info"]["neuron_device_count"] == 16


# Processes


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_there_are_as_many_runtimes_as_asked_for(scenario: str, count: int) -> None:
    """--runtimes is their number, more than there are cores as well; each has an id of its own and
    cores of the machine."""
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
def test_without_a_number_there_are_the_scenarios_runtimes(scenario: str, count: int) -> None:
    """Nothing uses Neuron where the cores are idle; elsewhere the default is four."""
    (report,) = reports(1, "--scenario", scenario)
    assert len(report["neuron_runtime_data"]) == count


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_process_has_the_tag_that_was_asked_for(scenario: str) -> None:
    """An application beside the simulator finds itself in it by its tag, helpers or not."""
    tagged = reports(12, *SMALL, "--scenario", scenario, "--runtimes", "2", "--tag", "housing")
    tags = {runtime["neuron_runtime_tag"] for _, runtime in runtimes(tagged)}
    assert tags == {"housing"}


def test_helpers_come_and_go_and_share_tags() -> None:
    """In `mixed` short-lived processes appear and vanish beside those that stay; some carry the
    tag of another, so that nothing but the process id tells them apart."""
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
