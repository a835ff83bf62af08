"""Nothing that the exporter sends is refused by a CloudWatch that refuses all that AWS refuses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import Given, load
from neuron_exporter.generate.dry_run import count
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.hardware import SIMULATED
from neuron_exporter.simulator.scenarios import SCENARIOS
from tests import captures
from tests.support import simulated
from tests.support.publishing import PERIOD, Clock, publish, write_simulated
from tests.support.put_requests import connected
from tests.support.strict_front import StrictFront, strict_front

PRESETS = ("minimal", "standard", "full")
MANY_REPORTS = 24
SETS = [["InstanceId", "InstanceType"], ["InstanceType", "Region"]]
AWKWARD = [
    "Größe\t\x00\x1b[31m\x7f\u2028 模型 🧠",
    "x" * 2000,
    "é" * 2000,
    "  \r\n a" + " " * 1022 + "b",
    ":colon",
]


class Front:
    """A strict front, and its time."""

    def __init__(self, strict: StrictFront, clock: Clock) -> None:
        self.strict = strict
        self.clock = clock

    def sent(
        self,
        path: Path,
        period: float = PERIOD,
        config: Mapping[str, Any] | None = None,
        **cloudwatch: Any,
    ) -> list[dict[str, Any]]:
        """What a run sends, of which nothing may be refused."""
        before = len(self.strict.requests)
        settings = {f"cloudwatch.{key}": value for key, value in cloudwatch.items()}
        publish(self.strict.url, self.clock, path, {**settings, **(config or {})}, period)
        assert self.strict.refused == []
        assert self.strict.inconsistent == []
        made = self.strict.requests[before:]
        assert made
        return made


@pytest.fixture(scope="module")
def shared() -> Iterator[Front]:
    """One for all tests: a metric that changes its unit between two of them is seen, too."""
    clock = Clock(time.time() // 60 * 60)
    with strict_front(clock=clock) as started:
        yield Front(started, clock)


@pytest.fixture
def front(shared: Front, monkeypatch: pytest.MonkeyPatch) -> Front:
    """The front, with credentials to send to it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return shared


def by_set(requests: list[dict[str, Any]]) -> dict[tuple[str, ...], set[str]]:
    """The names that came in each dimension set."""
    found: dict[tuple[str, ...], set[str]] = {}
    for request in requests:
        for datum in request["MetricData"]:
            names = tuple(each["Name"] for each in datum["Dimensions"])
            found.setdefault(names, set()).add(datum["MetricName"])
    return found


def values_of(requests: list[dict[str, Any]], dimension: str) -> set[str]:
    """What a dimension said."""
    return {
        each["Value"]
        for request in requests
        for datum in request["MetricData"]
        for each in datum["Dimensions"]
        if each["Name"] == dimension
    }


def named(metric: dict[str, Any]) -> tuple[str, frozenset[tuple[str, str]]]:
    """What makes a metric: its name and its dimensions."""
    dimensions = frozenset((each["Name"], each["Value"]) for each in metric["Dimensions"])
    return metric["MetricName"], dimensions


def written(folder: Path, reports: list[dict[str, Any]]) -> Path:
    """A file of these reports."""
    path = folder / "reports.ndjson"
    path.write_text("".join(json.dumps(report) + "\n" for report in reports))
    return path


def with_readings(value: Any, reading: float) -> Any:
    """The same with every number replaced, but for those that tell what the machine has."""
    if isinstance(value, dict):
        kept = ("neuron_hardware_info", "pid", "period")
        return {k: v if k in kept else with_readings(v, reading) for k, v in value.items()}
    if isinstance(value, list):
        return [with_readings(each, reading) for each in value]
    return reading if isinstance(value, int | float) else value


@pytest.mark.parametrize("instance_type", SIMULATED)
def test_every_machine_sends_what_was_counted(
    tmp_path: Path, front: Front, instance_type: str
) -> None:
    """In every preset, the metrics and the requests a window are those that `cost` counts, and
    the standard one needs one request."""
    reports = write_simulated(tmp_path / "r", MANY_REPORTS, "--instance-type", instance_type)
    for preset in PRESETS:
        chosen = [
            Given("test", "cloudwatch.preset", preset),
            Given("test", "cloudwatch.dimension_sets", SETS),
            Given("test", "cloudwatch.budget.max_metrics", None),
        ]
        counted = count(
            lambda flags, chosen=chosen: load(None, {}, [*chosen, *flags]),
            instance_type=instance_type,
        )
        sent = front.sent(reports, preset=preset, dimension_sets=SETS)
        assert {part.dimensions: set(part.metrics) for part in counted.parts} == by_set(sent)
        assert counted.metrics == sum(map(len, by_set(sent).values()))
        assert [part.shared for part in counted.parts] == [False, True]
        stamps = [request["MetricData"][0]["Timestamp"] for request in sent]
        assert counted.requests_a_window == max(map(stamps.count, stamps))
        if preset == "standard":
            assert len(set(stamps)) == len(stamps) > 2


@pytest.mark.parametrize("instance_type", [t for t in SIMULATED if not t.startswith("inf1")])
def test_workloads_are_sent_as_counted(tmp_path: Path, front: Front, instance_type: str) -> None:
    """A set by pod has as many metrics as `cost` counts, with and without a budget that drops some
    of them."""
    flags = ("--instance-type", instance_type, "--kubernetes")
    reports = write_simulated(tmp_path / "r", MANY_REPORTS, *flags)
    sets = [["InstanceId"], ["Region", "Namespace", "PodName"]]
    for most in (None, 12):
        given = {
            "cloudwatch.preset": "standard",
            "cloudwatch.dimension_sets": sets,
            "cloudwatch.budget.max_metrics": most,
        }
        chosen = [Given("test", key, value) for key, value in given.items()]
        counted = count(
            lambda flags, chosen=chosen: load(None, {}, [*chosen, *flags]),
            instance_type=instance_type,
        )
        sent = front.sent(reports, config=given)
        metrics = {named(datum) for request in sent for datum in request["MetricData"]}
        assert counted.metrics == len(metrics)
        assert {part.dimensions: set(part.metrics) for part in counted.parts} == by_set(sent)
        assert len(metrics) > 12 if most is None else len(metrics) <= most


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario(tmp_path: Path, front: Front, scenario: str) -> None:
    """Whatever goes on, on every machine."""
    for instance_type in SIMULATED:
        flags = ("--instance-type", instance_type, "--scenario", scenario, "--runtimes", "7")
        front.sent(write_simulated(tmp_path / "r", 14, *flags), preset="full")


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault(tmp_path: Path, front: Front, fault: str) -> None:
    """Whatever is wrong with the machine, with its reports, or with the stream of them."""
    flags = ("--instance-type", "inf2.24xlarge", "--scenario", "mixed", "--faults", fault)
    front.sent(write_simulated(tmp_path / "r", MANY_REPORTS, *flags), preset="full")


def test_all_faults_at_once(tmp_path: Path, front: Front) -> None:
    """Faults that meet make nothing that one alone does not."""
    faults = ",".join(name for name in FAULTS if name not in ("crash", "stall"))
    flags = ("--instance-type", "trn1.2xlarge", "--scenario", "mixed", "--faults", faults)
    for seed in ("1", "2", "3"):
        reports = write_simulated(tmp_path / "r", MANY_REPORTS, *flags, "--seed", seed)
        front.sent(reports, preset="full")


@pytest.mark.parametrize("capture", captures.all_captures(), ids=lambda path: path.stem)
def test_every_recorded_machine(tmp_path: Path, front: Front, capture: Path) -> None:
    """What real machines reported, several times over."""
    reports = tmp_path / "reports.ndjson"
    reports.write_bytes((capture.read_bytes().rstrip() + b"\n") * 14)
    for preset in PRESETS:
        front.sent(reports, preset=preset)


@pytest.mark.parametrize("reading", [10**400, 1e300, 2**63, 1e18, 5e-324, -1])
def test_absurd_readings(tmp_path: Path, front: Front, reading: float) -> None:
    """Numbers that no machine has do not cost the others of the request."""
    reports = written(
        tmp_path,
        [
            with_readings(each, reading) if number % 3 == 1 else each
            for number, each in enumerate(simulated.reports(14, *simulated.SMALL))
        ],
    )
    front.sent(reports, preset="full")


@pytest.mark.parametrize("text", AWKWARD, ids=range(len(AWKWARD)))
def test_awkward_identities(tmp_path: Path, front: Front, text: str) -> None:
    """Whatever a machine is called, it has a dimension that CloudWatch takes."""
    named = ("instance_name", "instance_availability_zone", "subnet_id", "ultraserver_id")
    reports = simulated.reports(14, *simulated.SMALL)
    for report in reports:
        report["instance_info"].update(dict.fromkeys(named, text))
    sets = [["InstanceName", "AvailabilityZone", "SubnetId"], ["UltraServerId"]]
    sent = front.sent(written(tmp_path, reports), dimension_sets=sets)
    assert list(by_set(sent)) == [tuple(names) for names in sets]


def test_many_dimensions(tmp_path: Path, front: Front) -> None:
    """As many as a metric may have, of the length that they may have, in sets of every kind."""
    extra = {"n" * 255: "v" * 1024, **{f"{n}:# ,/": f" :{n} " for n in range(26)}}
    config = {
        "cloudwatch.dimension_sets": [
            ["InstanceId", "InstanceType", "Region"],
            ["InstanceType", "ClusterName"],
            ["AutoScalingGroupName"],
            ["0:# ,/"],
        ],
        "cloudwatch.extra_dimensions": extra,
        "identity.cluster": "größer " * 300,
        "identity.auto_scaling_group": " : ",
    }
    reports = write_simulated(tmp_path / "r", 14, *simulated.SMALL)
    sent = front.sent(reports, preset="full", namespace="A-z0.9_/#: x", config=config)
    assert max(map(len, by_set(sent))) == 30
    assert len(by_set(sent)) == 4
    (cluster,) = values_of(sent, "ClusterName")
    assert len(cluster) == 1024


def test_many_dimension_sets(tmp_path: Path, front: Front) -> None:
    """More datums than a request may hold go in several, as many as may in each."""
    fields = ["InstanceId", "InstanceType", "Region", "AvailabilityZone", "SubnetId"]
    sets = [names for size in range(1, 6) for names in combinations(fields, size)]
    reports = write_simulated(tmp_path / "r", 14, *simulated.SMALL, "--scenario", "mixed")
    sent = front.sent(reports, preset="full", dimension_sets=[list(names) for names in sets])
    assert set(by_set(sent)) == set(sets)
    assert max(len(request["MetricData"]) for request in sent) == 1000


def test_an_hour_on_a_large_machine(tmp_path: Path, front: Front) -> None:
    """A window that is too large for one request goes in several, each of them legal."""
    flags = ("--instance-type", "trn2.48xlarge", "--scenario", "mixed")
    sets = [["InstanceId"], ["InstanceType"], ["Region"], ["AvailabilityZone"], ["SubnetId"]]
    sent = front.sent(
        write_simulated(tmp_path / "r", 240, *flags),
        period=15,
        preset="full",
        flush_interval="1h",
        dimension_sets=sets,
    )
    sizes = [len(json.dumps(request)) for request in sent]
    assert max(sizes) > 900_000
    stamps = [request["MetricData"][0]["Timestamp"] for request in sent]
    assert max(map(stamps.count, stamps)) > 1


def test_a_source_that_dies_and_comes_back(tmp_path: Path, front: Front) -> None:
    """Windows in which nothing came, and a clock that was set, are legal too."""
    reports = write_simulated(tmp_path / "r", 4, *simulated.SMALL)
    for period in (61.0, 600.0, 4000.0, -30.0):
        front.sent(reports, period=period, preset="full")


def test_moto_takes_it_too(tmp_path: Path, front: Front, moto: str) -> None:
    """What the strict front lets in arrives, and is read back as what was sent."""
    # moto keeps an object for each execution, and compares all with all.
    flags = (*simulated.SMALL, "--scenario", "idle", "--runtimes", "2")
    reports = write_simulated(tmp_path / "r", 14, *flags)
    with strict_front(moto, front.clock) as before_moto, connected(before_moto.url) as client:
        sent = Front(before_moto, front.clock).sent(
            reports,
            preset="full",
            namespace="Not refused",
            dimension_sets=SETS,
        )
        pages = client.get_paginator("list_metrics").paginate(Namespace="Not refused")
        listed = [metric for page in pages for metric in page["Metrics"]]
    assert {named(each) for each in listed} == {
        named(datum) for request in sent for datum in request["MetricData"]
    }
