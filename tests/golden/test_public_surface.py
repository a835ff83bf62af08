"""The public surface: names, keys, flags and paths that users and their programs rely on.

Each subject has a golden file with one item per line; `make golden` writes the files again.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

import neuron_exporter as package
from neuron_exporter.cli import common
from neuron_exporter.cli import main as cli
from neuron_exporter.cli.registry import COMMANDS, make_parser, make_program_parser
from neuron_exporter.config import Override, load
from neuron_exporter.config.load import PREFIX
from neuron_exporter.config.schema import Config
from neuron_exporter.config.section import is_reloadable, keys
from neuron_exporter.daemon.routes import SNAPSHOT, routes
from neuron_exporter.doctor.acceptance.evidence import Evidence
from neuron_exporter.doctor.acceptance.judgement import Result
from neuron_exporter.doctor.acceptance.outcome import Outcome
from neuron_exporter.doctor.finding import Finding, Verdict
from neuron_exporter.doctor.runner import CHECKS
from neuron_exporter.generate.alarms.rules import FLEET_RULES, MACHINE_RULES, TASK_RULES
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.metrics.tables import ENTITY_LABELS
from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.pipeline.build import build
from neuron_exporter.simulator.faults import FAULTS
from neuron_exporter.simulator.hardware import SIMULATED_TYPES
from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from neuron_exporter.simulator.scenarios import SCENARIOS
from neuron_exporter.telemetry import Telemetry
from neuron_exporter.web import Request
from neuron_exporter.web.config_schema import WebConfig
from tests.conftest import Golden
from tests.support.log_events import events
from tests.support.paths import PACKAGE, ROOT

VARIABLE = re.compile(r"(NEURON|AWS|ECS|K8S|KUBERNETES|NODE|POD)_[A-Z0-9_]+|HTTPS?_PROXY")

Lines = Iterable[str]


def metrics() -> Iterator[str]:
    """Prometheus metrics of the hardware and of the exporter itself."""
    for row in CATALOGUE:
        constant = (name for name, _ in row.constant_labels)
        labels = [
            *ENTITY_LABELS[row.entity_kind],
            *constant,
            *([row.split_by] if row.split_by else []),
        ]
        layouts = "+".join(sorted(row.layouts)) or "all"
        yield (
            f"{row.name}{{{','.join(labels)}}} {row.kind.value}, unit {row.unit.value or 'none'}, "
            f"preset {row.preset.name.lower()}, layout {layouts}, since {row.since}: {row.help}"
        )
    telemetry = Telemetry(SourceState)
    suffixes = {"counter": "_total", "info": "_info"}
    for each in [*vars(telemetry).values(), *telemetry.registry._collector_to_names]:
        if isinstance(each, MetricWrapperBase):
            (family,) = [*each.collect()] or each.describe()
            labels = each._labelnames or [name for s in family.samples for name in s.labels]
            name = family.name + suffixes.get(family.type, "")
            yield f"{name}{{{','.join(labels)}}} {family.type}: {family.documentation}"


def cloudwatch_metrics() -> Iterator[str]:
    """CloudWatch metrics: name, unit, pooling, preset, and the row and label values behind them."""
    for row in CATALOGUE:
        for metric in row.cloudwatch:
            yield (
                f"{metric.name} {metric.unit}, {metric.pooling.value}, "
                f"preset {metric.preset.name.lower()}, times {metric.scale:g}, from {row.name} "
                f"{','.join(metric.only)}".rstrip()
            )


class Caught(Exception):
    """Carries a parser out of a command that is about to parse its arguments."""


def command_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Flags of the program and of every command, from the parsers' actions.

    argparse formats help differently in each Python version, so formatted help is not used.
    """

    def catch(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Caught(parser)

    yield from flags(make_program_parser(), "neuron-exporter")
    for name in COMMANDS:
        if name != "simulate":
            yield from flags(make_parser(name), f"neuron-exporter {name}")
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", catch)
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # the program replaces it
    with pytest.raises(Caught) as caught:
        cli.main(["simulate"])
    yield from flags(caught.value.args[0], "neuron-exporter simulate")


def flags(parser: argparse.ArgumentParser, program: str) -> Iterator[str]:
    """The flags of a parser and of its commands."""
    if parser.description:
        yield f"{program}: {parser.description}"
    for group in parser._mutually_exclusive_groups:
        names = " | ".join(each.option_strings[0] for each in group._group_actions)
        yield f"{program} (one of): {names}"
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action._choices_actions:
                yield f"{program} {command.dest} (command): {command.help}"
        else:
            yield f"{program} {flag(action)}"


def flag(action: argparse.Action) -> str:
    """One flag: its names, values, default and help."""
    facts = {
        "value": action.metavar or (action.dest if action.nargs != 0 else None),
        "choices": action.choices and ",".join(map(str, action.choices)),
        "nargs": action.nargs,
        "default": None if action.default is False else action.default,
        "required": action.required or None,
    }
    shown = [
        f"{name}={fact}" for name, fact in facts.items() if fact not in (None, argparse.SUPPRESS)
    ]
    help = "(hidden)" if action.help == argparse.SUPPRESS else action.help or "(no help)"
    return f"{' '.join([*action.option_strings, *shown])}: {help}"


def keys_of(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Dotted keys of a model, each with its type and default."""
    schema = model.model_json_schema()

    def walk(properties: dict[str, Any], above: str) -> Iterator[tuple[str, str]]:
        for name, found in properties.items():
            below = found.get("$ref") or found.get("allOf", [{}])[0].get("$ref")
            if below:
                definition = schema["$defs"][below.rpartition("/")[2]]
                yield from walk(definition["properties"], f"{above}{name}.")
            else:
                left_out = ("default", "title", "description", "x-reloadable")
                kind = {key: value for key, value in found.items() if key not in left_out}
                default = json.dumps(found.get("default"))
                yield f"{above}{name}", f"{json.dumps(kind, sort_keys=True)} default {default}"

    return walk(schema["properties"], "")


def configuration() -> Iterator[str]:
    """Keys of the configuration file, with what a change takes, and of the web configuration."""
    reloadable = {key for key, field in keys(Config) if is_reloadable(field)}
    for key, text in keys_of(Config):
        yield f"{key} ({'reload' if key in reloadable else 'restart'}): {text}"
    yield from (f"web configuration: {key}: {text}" for key, text in keys_of(WebConfig))


def environment() -> Iterator[str]:
    """Environment variables for configuration keys, those named in the source; exit statuses."""
    yield from (f"{PREFIX}{key.replace('.', '__').upper()}" for key, _ in keys_of(Config))
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and VARIABLE.fullmatch(str(node.value)):
                yield str(node.value)
    yield f"exit status {common.OK}: success"
    yield f"exit status {common.FAILED}: failure"
    yield f"exit status {common.WRONG_USE}: wrong use"


def log_events() -> Iterator[str]:
    """Log events: name, level, fields, and the fields that their logger adds."""
    for path in PACKAGE.rglob("*.py"):
        if path.name != "log.py":  # makes loggers, logs nothing
            yield from events(
                path, ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            )


def http_routes() -> Iterator[str]:
    """HTTP routes, and the setting that each needs."""
    without = {key: served(**{key: False}) for key in ("web.page", "prometheus.enabled")}
    for path in served():
        needed = [f" needs {key}" for key, paths in without.items() if path not in paths]
        yield path + "".join(needed)


def served(**settings: bool) -> set[str]:
    """The routes with these settings."""
    given = [Override("test", key, value) for key, value in settings.items()]
    return set(routes(build(load(None, {}, given), environment={}), list))


def snapshot_keys() -> Lines:
    """Key paths of /api/v1/snapshot, for a simulated machine with all sinks on."""
    settings = {
        "source.kind": "simulator",
        "cloudwatch.enabled": True,
        "cloudwatch.allow_simulated": True,
        "otlp.enabled": True,
        "otlp.endpoint": "http://127.0.0.1:4318",
    }
    given = [Override("test", key, value) for key, value in settings.items()]
    pipeline = build(load(None, {}, given), environment={})
    machine = Machine(parse(["--kubernetes", "--scenario", "mixed", "--faults", "error-groups"]))
    for number in range(2):
        line = json.dumps(machine.report(number)).encode()
        pipeline.processor.on_line(memoryview(line), Timestamp(time.time(), time.monotonic()))
    answer = routes(pipeline, list)[SNAPSHOT](Request(SNAPSHOT, Message(), True))
    assert isinstance(answer.body, bytes)
    document = json.loads(answer.body)
    document["log"] = {}  # depends on what other tests have logged
    return paths(document)


def paths(document: Any, above: str = "") -> Iterator[str]:
    """Key paths of a document; `[]` stands for every item of a list."""
    if isinstance(document, dict) and document:
        for key, value in document.items():
            yield from paths(value, f"{above}.{key}" if above else key)
    elif isinstance(document, list) and document:
        for item in document:
            yield from paths(item, f"{above}[]")
    else:
        yield above


def json_of_commands(tmp_path: Path) -> Iterator[str]:
    """Key paths of what commands print with --json."""
    config = tmp_path / "exporter.yaml"
    config.write_text("cloudwatch: {enabled: true}\n")
    for words in (["cost", "--config", str(config)], ["instance-types"]):
        done = subprocess.check_output([sys.executable, "-m", package.__name__, *words, "--json"])
        yield from (f"{words[0]}: {path}" for path in paths(json.loads(done)))
    yield from (f"doctor: [].{field}" for field in Finding._fields)
    yield from (f"doctor: [].verdict is {verdict.value}" for verdict in Verdict)
    yield from (f"doctor: [].subject is {check.subject}" for check in CHECKS)
    document = json.loads(Outcome.of(Evidence(), 1.0, "", "").as_json())
    yield from (f"doctor --acceptance: {path}" for path in paths(document))
    yield from (f"doctor --acceptance: assumptions[].result is {each.value}" for each in Result)


def rules_and_dashboards() -> Iterator[str]:
    """Prometheus alerts and recorded series, and Grafana dashboards."""
    for path in (ROOT / "grafana" / "rules").glob("*.yml"):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                name = rule.get("alert") or rule["record"]
                kind = "alert" if "alert" in rule else "record"
                yield f"{kind} {name} {rule.get('labels', '')}".rstrip()
    for path in (ROOT / "grafana" / "dashboards").glob("*.json"):
        board = json.loads(path.read_text())
        yield f"dashboard {path.name} uid {board['uid']}: {board['title']}"


class Template(yaml.SafeLoader):
    """A loader of CloudFormation's YAML that ignores tags such as !Ref."""


Template.add_multi_constructor("!", lambda *_: None)


def cloudformation() -> Iterator[str]:
    """Parameters, resources and outputs of the templates; alarms with their own parameters."""
    for path in (ROOT / "ecs").glob("*.yaml"):
        template = yaml.load(path.read_text(), Template)  # noqa: S506 (a safe loader)
        for section in ("Parameters", "Resources", "Outputs"):
            for key, value in template.get(section, {}).items():
                kind = f" {value['Type']}" if "Type" in value else ""
                default = f" default {value['Default']!r}" if "Default" in value else ""
                yield f"{path.name} {section} {key}{kind}{default}"
    for rule in (*FLEET_RULES, *TASK_RULES, *MACHINE_RULES):
        yield f"alarm {rule.name} parameter {rule.threshold.parameter}"
        if rule.expected:
            yield f"alarm {rule.name} parameter {rule.expected.parameter}"


def simulator() -> Iterator[str]:
    """Faults, scenarios and machines of the simulator; its flags are on the command line."""
    for fault in FAULTS.values():
        yield f"fault {fault.name}, {fault.timing.value}: {fault.help}"
    yield from (f"scenario {row.name}, {row.runtimes} runtimes" for row in SCENARIOS.values())
    yield from (f"instance type {name}" for name in SIMULATED_TYPES)


SUBJECTS: tuple[Callable[..., Lines], ...] = (
    *(metrics, cloudwatch_metrics, command_line, configuration, environment, log_events),
    *(http_routes, snapshot_keys, json_of_commands, rules_and_dashboards, cloudformation),
    simulator,
)


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_public_surface(
    subject: Callable[..., Lines], request: pytest.FixtureRequest, golden: Golden
) -> None:
    """A subject equals its golden file: each line once, sorted."""
    fixtures = inspect.signature(subject).parameters
    lines = sorted(set(subject(*map(request.getfixturevalue, fixtures))))
    assert lines
    golden.check(f"public/{subject.__name__}.txt", "\n".join(lines) + "\n")
