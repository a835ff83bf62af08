"""README tells the truth."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from neuron_exporter.config import Given, load
from neuron_exporter.config.changes import HOT
from neuron_exporter.config.schema import Config
from neuron_exporter.doctor.remedies import BY_STATE
from neuron_exporter.generate.alarms import rules as alarm_rules
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.selection import for_cloudwatch
from neuron_exporter.model import SourceState
from neuron_exporter.pipeline.build import build
from neuron_exporter.sinks.cloudwatch.dimensions import FIELDS
from neuron_exporter.web.config_schema import validate
from tests.support import readme

NOT_METRICS = ("neuroncore", "neuron_device_index", "neuroncore_memory_usage_")
"""Labels, and the beginning of several names."""


def test_the_configuration_shows_every_key_with_its_default(tmp_path: Path) -> None:
    """What README prints is a legal file, has every key, and changes nothing."""
    text = readme.block("yaml", "source:")
    path = tmp_path / "all.yaml"
    path.write_text(text)
    assert load(str(path)).config == Config()

    def keys(value: object, at: str = "") -> set[str]:
        below = value.items() if isinstance(value, dict) else ()
        return {at} | {key for name, inner in below for key in keys(inner, f"{at}.{name}")}

    assert keys(yaml.safe_load(text)) == keys(Config().model_dump())


def test_the_web_configuration_is_a_legal_one() -> None:
    """What README shows of TLS and passwords is taken as it stands."""
    config, problems = validate(yaml.safe_load(readme.block("yaml", "tls_server_config:")))
    assert not problems
    assert config is not None
    assert list(config.basic_auth_users) == ["prometheus"]


def test_keys_that_change_while_running_are_named() -> None:
    """Whoever plans a change knows before whether it takes a restart."""
    sentence = readme.TEXT.split("These keys take effect at once:")[1].split("\n-")[0]
    assert set(re.findall(r"`([a-z_.]+)`", sentence)) == HOT


def test_every_dimension_is_named() -> None:
    """Whoever writes a dimension set finds all that there is to write, and nothing that is not."""
    sentence = readme.TEXT.split("Dimensions may be")[1].split(", and what")[0]
    assert re.findall(r"`(\w+)`", sentence) == list(FIELDS)


def test_the_ten_standard_metrics_are_explained() -> None:
    """Each metric of the standard preset stands in the table with its unit, and no other."""
    selection, _ = for_cloudwatch("standard", [], [])
    units = {
        m.name: m.unit for row in CATALOGUE for m in row.cloudwatch if m.name in selection.names
    }
    told = {row[0].strip("`"): row[1] for row in readme.table("one value for")}
    assert told == units
    assert len(told) == 10


def test_every_command_is_explained() -> None:
    """The table of commands has those of the command line."""
    told = {row[0].strip("`").split()[0] for row in readme.table("command")}
    assert told == {
        *("run", "demo", "check", "metrics", "cost", "alarms", "task-definition"),
        *("cloudwatch-dashboard", "doctor", "instance-types", "healthcheck", "simulate", "record"),
    }


def test_every_alarm_is_explained() -> None:
    """The table has each alarm, and treats missing data as its template does."""
    told = {row[0].strip("`"): row[2].partition(":")[0] for row in readme.table("missing data")}
    assert told == {rule.name: rule.missing for rule in alarm_rules.FLEET}


def test_every_state_has_an_advice() -> None:
    """Whoever is on call finds the state that is shown, and what to do."""
    told = {row[0].strip("`") for row in readme.table("what to do")}
    assert told == {state.value for state in SourceState}


def test_the_advice_is_the_doctors() -> None:
    """Who reads the table and who asks the doctor are told the same of each state."""
    links = re.compile(r"\[([^]]*)\]\([^)]*\)")
    told = {row[0].strip("`"): links.sub(r"\1", row[1]) for row in readme.table("what to do")}
    assert told == {state.value: advice for state, advice in BY_STATE.items()}


def test_what_the_doctor_says_is_what_it_says() -> None:
    """Each line of the example is one that it says on a sick machine, in a test."""
    golden = readme.ROOT / "tests" / "end_to_end" / "files" / "doctor" / "sick.txt"
    said = golden.read_text().splitlines()
    shown = readme.block("text", "failed   source").splitlines()
    assert len(shown) > 5
    assert [line for line in shown if line not in said] == []


def test_every_fault_names_a_test_that_shows_it() -> None:
    """What it is said to survive, a test makes happen."""
    sources = (path.read_text() for path in (readme.ROOT / "tests").rglob("test_*.py"))
    tests = {
        name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    }
    rows = readme.table("what is lost")
    assert len(rows) > 10
    for fault, _, _, shown_by in rows:
        named = re.findall(r"`(test_\w+)`", shown_by)
        assert named, fault
        assert set(named) <= tests


def test_the_policy_is_as_narrow_as_it_says() -> None:
    """The policy allows one action, in the namespace that is the default."""
    (statement,) = json.loads(readme.block("json", "PutMetricData"))["Statement"]
    assert statement["Action"] == "cloudwatch:PutMetricData"
    (allowed,) = statement["Condition"].values()
    assert allowed == {"cloudwatch:namespace": Config().cloudwatch.namespace}


@pytest.mark.parametrize("name", ["neuron_executions_total", "execution_status_total"])
def test_named_metrics_exist(name: str) -> None:
    """A metric that README names is in the catalogue."""
    assert name in {row.name for row in CATALOGUE}


def test_metrics_in_queries_exist() -> None:
    """Every metric that a query asks for is one that is exposed."""
    queries = " ".join(query for _, query in readme.queries())
    asked = set(re.findall(r"\b((?:neuron|execution|hardware)\w+)", queries)) - set(NOT_METRICS)
    built = build(load(None, {}, [Given("test", "source.kind", "stdin")]), environment={})
    own = {f.name for f in built.telemetry.registry.collect()}
    assert asked <= {row.name for row in CATALOGUE} | own


def test_tests_that_are_named_exist() -> None:
    """Whoever doubts a row finds the test that shows it."""
    written = "".join(path.read_text() for path in readme.ROOT.glob("tests/*/test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", readme.TEXT))
    assert named
    assert {name for name in named if f"def {name}(" not in written} == set()
