"""Tables and figures in the documents agree with the code."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from neuron_exporter.config.schema import Config
from neuron_exporter.doctor.remedies import BY_STATE
from neuron_exporter.generate.alarms.rules import FLEET_RULES
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS
from tests.support.documents import (
    DOCUMENTS,
    block,
    prose,
    public,
    quoted,
    section,
    table,
    text,
)
from tests.support.paths import PACKAGE, ROOT
from tests.unit.test_imports import LAYERS

OTHERS = (
    *("neuron_runtime_data", "neuron_hw_counters", "neuron_k8s_info", "neuron_exporter"),
    *("neuroncore_utilization", "execution_summary", "neuron_runtime_used_bytes"),
    *("neuron_runtime_vcpu_usage", "execution_gap_seconds", "hardware_faults", "neuron_core"),
)
"""Parts of reports, of the snapshot and of the driver's files, and the package, that have names
like metrics."""

RENAMED_EVENTS = {
    row[0].strip("`"): row[1].strip("`") for row in table("CHANGELOG.md", "| old event |")
}


def first_names(document: str, heading: str) -> list[str]:
    """Return the code in the first cells of a table."""
    return [name for row in table(document, heading) for name in re.findall(r"`([^`]+)`", row[0])]


def cloudwatch_metrics() -> dict[str, tuple[str, str]]:
    """Return unit and preset of each CloudWatch metric."""
    found = {}
    for line in public("cloudwatch_metrics"):
        name, unit, preset = re.match(r"(\w+) (\S+), \w+, preset (\w+)", line).groups()  # type: ignore[union-attr]
        found[name] = (unit, preset)
    return found


# Metrics


def prometheus_metrics() -> set[str]:
    """Return the names of all Prometheus metrics and their labels."""
    found = set()
    for line in public("metrics"):
        name, labels = re.match(r"(\w+)\{(.*?)\}", line).groups()  # type: ignore[union-attr]
        found |= {name, *(label.partition("=")[0] for label in labels.split(","))}
    return found


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - {"CHANGELOG.md"}))
def test_named_metrics_exist(document: str) -> None:
    known = prometheus_metrics()
    prefixes = r"(?:neuron|neuroncores?|neurondevice|execution|hardware|system)_"
    for code in quoted(document):
        for name in re.findall(rf"(?<![\w:./-])({prefixes}\w+)(?![\w:./-]|\()", code):
            stem = re.sub(r"_(sum|count|bucket)$", "", name)
            start = name.endswith(
                "_"
            )  # the beginning of several names, as in `neuroncore_memory_*`
            assert (
                known & {name, stem}
                or name in OTHERS
                or (start and any(each.startswith(name) for each in known))
            ), code


@pytest.mark.parametrize("document", DOCUMENTS)
def test_metrics_in_queries_exist(document: str) -> None:
    known = prometheus_metrics()
    for query in re.findall(
        r"^ *```promql\n(.*?)^ *```$", text(document), re.DOTALL | re.MULTILINE
    ):
        names = re.findall(r"\b((?:neuron|execution|hardware)\w+)", re.sub(r"# .*", "", query))
        assert {each for each in names if not each.endswith("_")} <= known | {"neuroncore"}


def test_the_ten_standard_metrics_are_explained() -> None:
    """The table has each metric of the standard preset with its unit, and no other."""
    standard = {
        name: unit for name, (unit, preset) in cloudwatch_metrics().items() if preset != "full"
    }
    rows = {row[0].strip("`"): row[1] for row in table("docs/cloudwatch.md", "one value per")}
    assert rows == standard
    assert len(rows) == 10


def test_the_example_publishes_two_metrics() -> None:
    """Its allow-list has two metrics."""
    chosen = yaml.safe_load(block("docs/cloudwatch.md", "yaml", "preset: none"))["cloudwatch"]
    assert chosen["include"] == ["NeuronCoreUtilization", "ExecutionsCompleted"]
    assert "This configuration publishes two metrics" in text("docs/cloudwatch.md")


def test_the_sizes_of_presets() -> None:
    presets = [preset for _, preset in cloudwatch_metrics().values()]
    minimal, standard = presets.count("minimal"), 10
    assert f"`minimal` ({minimal} metrics), `standard` ({standard})" in text("docs/cloudwatch.md")


def test_every_dimension_is_explained() -> None:
    names = first_names("docs/cloudwatch.md", "| dimension | value |")
    assert sorted(names) == sorted({*MACHINE_DIMENSIONS, "ContainerName"})


def test_a_fleet_of_the_example() -> None:
    """100 machines with ten metrics each and ten for the cluster: 0.30 USD each."""
    count = 10 + 100 * 10
    stated = rf"10 \+ 100 . 10 = {count:,} metrics: {count * 0.3:.2f} USD"
    assert re.search(stated, text("docs/cost.md"))


# Operation


def test_every_source_state_is_explained() -> None:
    """The table has every state, with the advice of the doctor."""
    links = re.compile(r"\[([^]]*)\]\([^)]*\)")
    rows = table("docs/doctor.md", "what to do")
    advice = {row[0].strip("`"): links.sub(r"\1", row[1]) for row in rows}
    assert advice == {state.value: text for state, text in BY_STATE.items()}


def test_the_doctor_prints_these_lines() -> None:
    """Each line of the example is in a golden file of the doctor."""
    golden = (ROOT / "tests" / "end_to_end" / "files" / "doctor" / "failing.txt").read_text()
    shown = block("docs/doctor.md", "text", "failed   source").splitlines()
    assert len(shown) > 5
    assert [line for line in shown if line not in golden.splitlines()] == []


def test_every_subject_of_the_doctor_is_explained() -> None:
    mark = "doctor: [].subject is "
    subjects = [line.removeprefix(mark) for line in public("json_of_commands") if mark in line]
    rows = table("docs/doctor.md", "| subject | checks |")
    assert sorted(name for row in rows for name in row[0].split(", ")) == sorted(subjects)


def test_routes_are_explained() -> None:
    """The table has every route but the page's own files."""
    routes = {line.split()[0] for line in public("http_routes")}
    named = first_names("docs/page-and-api.md", "| path | response |")
    assert sorted(named) == sorted(path for path in routes if not path.startswith("/page/"))


def test_fields_of_the_snapshot_are_explained() -> None:
    """Each field down to the second level, and each field of lists below `reading`, is named."""
    named = {
        part
        for code in re.findall(r"`([^`]+)`", section("docs/page-and-api.md", "`/api/v1/snapshot`"))
        for part in code.replace("[]", "").split(".")
    }
    for line in public("snapshot_keys"):
        path = line.replace("[]", "").split(".")
        depth = 3 if path[0] in ("reading", "sinks") else 2
        if path[0] not in ("machine", "lookups"):
            assert set(path[:depth]) <= named | {"reading", "executions", "by_status"}, line


def test_the_policy_allows_one_action() -> None:
    """The role may publish in the default namespace, as the committed policy says."""
    policy = json.loads(block("docs/cloudwatch.md", "json", "PutMetricData"))
    (statement,) = policy["Statement"]
    assert statement["Action"] == "cloudwatch:PutMetricData"
    (allowed,) = statement["Condition"].values()
    assert allowed == {"cloudwatch:namespace": Config().cloudwatch.namespace}
    assert policy == json.loads((ROOT / "ecs" / "policies" / "publish.json").read_text())


def test_every_alarm_is_explained() -> None:
    """The table has each alarm of a fleet, and its treatment of missing data."""
    rows = {
        row[0].strip("`"): row[2].partition(":")[0]
        for row in table("ecs/README.md", "missing data")
    }
    assert rows == {rule.name: rule.missing for rule in FLEET_RULES}


# The simulator


def test_scenarios_are_explained() -> None:
    rows = table("docs/simulator.md", "| `--scenario` | load")
    stated = {f"scenario {row[0].strip('`')}, {row[2]} runtimes" for row in rows}
    assert stated == {line for line in public("simulator") if line.startswith("scenario ")}


def test_faults_are_explained() -> None:
    rows = first_names("docs/simulator.md", "| `--faults`")
    faults = [line for line in public("simulator") if line.startswith("fault ")]
    assert sorted(rows) == sorted(re.findall(r"^fault ([\w-]+)", "\n".join(faults), re.MULTILINE))


# Architecture


def test_layers_are_those_of_the_imports() -> None:
    listed = re.findall(r"^\d+\. (.*)$", section("exporter/README.md", "Layers"), re.MULTILINE)
    layers = [set(re.findall(r"`(\w+)`", line)) for line in listed]
    assert layers == [packages for packages in LAYERS if packages != {"__main__"}]


def test_every_package_is_explained() -> None:
    """The table has every package and module, each with files that exist."""
    named = first_names("exporter/README.md", "| package | duty |")
    there = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    there |= {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {name.strip("/") for name in named} == there
    for package, _, first in table("exporter/README.md", "| package | duty |"):
        folder = PACKAGE / package.strip("`/")
        for name in re.findall(r"`([^`]+)`", first):
            assert any((base / name).exists() for base in (PACKAGE, folder)), name


def test_folders_and_support_modules_of_the_tests_exist() -> None:
    folders = [name for name in first_names("tests/README.md", "| folder |") if "/" in name]
    assert {name.strip("/") for name in folders} == {
        path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")
    }
    cells = [row[1] for row in table("tests/README.md", "| in `support/` |")]
    for name in re.findall(r"`(\w+)`", " ".join(cells)):
        assert (ROOT / "tests" / "support" / f"{name}.py").exists(), name


# Changes


def test_renamed_events() -> None:
    """The table of CHANGELOG leads from names that are gone to names that exist."""
    events = {line.split()[0] for line in public("log_events")}
    assert set(RENAMED_EVENTS.values()) <= events
    gone = {old for old, new in RENAMED_EVENTS.items() if old != new}
    assert not gone & events


@pytest.mark.parametrize("document", sorted({*DOCUMENTS} - {"CHANGELOG.md"}))
def test_old_events_are_gone(document: str) -> None:
    gone = {old for old, new in RENAMED_EVENTS.items() if old != new}
    assert not gone & set(re.findall(r"`(\w+)`", prose(document)))
