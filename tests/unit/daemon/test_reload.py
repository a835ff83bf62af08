"""Applying another configuration to running parts, without losing what was counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.config import ConfigError, LoadedConfig, Override, load
from neuron_exporter.daemon.reload import find_changes, reconfigure, restart_problems
from neuron_exporter.daemon.routes import Endpoints
from neuron_exporter.model import SourceState, Timestamp
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.web import Request
from tests.support.reports import ecc, executions, report, runtime
from tests.support.web_config import bcrypt_hash

QUIET = {"identity.imds": False, "identity.ecs": False}
TOTALS = "neuron_executions_total"


def loaded(settings: Mapping[str, Any]) -> LoadedConfig:
    """Load a configuration with these keys."""
    flags = [Override("a.yaml", key, value) for key, value in {**QUIET, **settings}.items()]
    return load(flags=flags)


class ReloadedPipeline:
    """A pipeline that is fed by hand."""

    def __init__(self, **settings: Any) -> None:
        self.pipeline: Pipeline = build(loaded(_dotted(settings)), environment={})
        self._now = 1000.0

    def apply(self, **settings: Any) -> list[str]:
        """Apply another configuration and return the changed keys."""
        new = loaded(_dotted(settings))
        return [each.key for each in reconfigure(self.pipeline, new, environment={})]

    def report(self, completed: int = 0, **more: Any) -> None:
        """Process a report with this number of executions."""
        self._now += 5
        stats = executions(completed)
        line = json.dumps(report(runtime(execution_stats=stats), **more)).encode()
        self.pipeline.processor.on_line(memoryview(line), Timestamp(self._now, self._now))

    def exposed(self) -> dict[str, float]:
        """Return the sum of each metric's samples in a scrape."""
        assert self.pipeline.prometheus is not None
        text = self.pipeline.prometheus.expose(self._now).decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in settings.items()}


# What is exposed and collected


def test_changed_selection() -> None:
    """Removed metrics are gone at once; added ones come with the next report and include what was
    counted before."""
    parts = ReloadedPipeline(prometheus__exclude=["neuron_executions_total"])
    parts.report(3)
    assert TOTALS not in parts.exposed()
    assert "neuron_execution_errors_total" in parts.exposed()

    assert parts.apply(prometheus__exclude=["neuron_execution_errors_total"]) == [
        "prometheus.exclude"
    ]
    assert "neuron_execution_errors_total" not in parts.exposed()
    parts.report(4)
    assert parts.exposed()[TOTALS] == 7
    assert parts.exposed()["execution_status_total"] == 7


def test_ecc_counter_continues_while_unpublished() -> None:
    parts = ReloadedPipeline()
    for reading in (4, 5):
        parts.report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": reading}, {})})
    before = parts.exposed()["hardware_ecc_events_total"]
    parts.apply(prometheus__exclude=["hardware_ecc_*", "neurondevice_*"])
    parts.report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 7}, {})})
    parts.apply()
    parts.report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 8}, {})})
    assert parts.exposed()["hardware_ecc_events_total"] == before + 3


def test_replaced_rows_keep_their_names() -> None:
    system = {"memory_info": {"period": 5, "memory_total_bytes": 64, "swap_total_bytes": 8}}
    chosen: dict[str, Any] = {
        "prometheus__preset": "minimal",
        "prometheus__exclude": ["neuron*", "*_info"],
    }
    parts = ReloadedPipeline(**chosen, prometheus__include=["system_memory_total_bytes"])
    parts.report(system_data=system)
    assert parts.exposed() == {"system_memory_total_bytes": 64}
    parts.apply(**chosen, prometheus__include=["system_swap_total_bytes"])
    assert parts.exposed() == {}
    parts.report(system_data=system)
    assert parts.exposed() == {"system_swap_total_bytes": 8}


def test_label_filter_needs_no_report() -> None:
    parts = ReloadedPipeline(prometheus__include=[TOTALS], prometheus__preset="minimal")
    parts.report(3)
    parts.apply(
        prometheus__include=[TOTALS],
        prometheus__preset="minimal",
        prometheus__exclude=[f'{TOTALS}{{status_type="completed"}}'],
    )
    assert parts.exposed()[TOTALS] == 0


def test_series_counts_follow_selection() -> None:
    parts = ReloadedPipeline()
    parts.report(3)
    endpoints = Endpoints(parts.pipeline, list)

    def counted() -> bool:
        answer = endpoints.metrics(Request("/metrics", Message()))
        return b'neuron_exporter_series{metric="neuron_executions_total"}' in b"".join(answer.body)

    assert counted()
    parts.apply(prometheus__exclude=[TOTALS])
    assert not counted()
    parts.apply()
    parts.report()
    assert counted()


def test_task_scope_rows_by_branch() -> None:
    more = {
        "source__kind": "stdin",
        "cloudwatch__enabled": True,
        "cloudwatch__scope": "task",
        "cloudwatch__dimension_sets": [["TaskId"]],
        "cloudwatch__transport": "emf",
    }
    parts = ReloadedPipeline(prometheus__preset="minimal", **more)
    parts.report(3)
    parts.apply(prometheus__preset="full", cloudwatch__preset="full", **more)
    parts.report(4)
    assert parts.exposed()[TOTALS] == 7
    branches = (parts.pipeline.processor._main, *parts.pipeline.processor._others)
    collected = [
        {row.name for rows in branch.collector._rows.values() for row in rows}
        for branch in branches
    ]
    assert "system_memory_total_bytes" in collected[0]
    assert "system_memory_total_bytes" not in collected[1]


# Changes


def test_equal_values_are_no_change() -> None:
    """Values are compared, not how they are written."""
    same = [["InstanceId", "InstanceType"]]
    other = loaded({"source.period": "5000ms", "cloudwatch.dimension_sets": same})
    assert list(find_changes(loaded({}).config, other.config)) == []


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("source.period", "10s", "(current: 5s, new: 10s)"),
        ("cloudwatch.spool.max_age", "90m", "(current: 14d, new: 90m)"),
        ("source.replay.speed", 2, "(current: 1.0, new: 2.0)"),
        ("source.environment", {"A": "x"}, ""),
        ("cloudwatch.region", "eu-west-1", "(current: null, new: 'eu-west-1')"),
        ("web.page", False, "(current: True, new: False)"),
    ],
)
def test_restart_problem(key: str, value: Any, problem: str) -> None:
    new = loaded({key: value, "log.level": "debug"})
    changes = list(find_changes(loaded({}).config, new.config))
    assert [each.key for each in changes] == [key, "log.level"]
    assert restart_problems(changes, new) == [
        f"a.yaml: {key}: requires a restart {problem}".rstrip()
    ]


def test_digest_follows_the_settings() -> None:
    """Equal settings have the same digest, whatever the order in which they are set."""

    def digest() -> str:
        registry = parts.pipeline.telemetry.registry
        (family,) = [each for each in registry.collect() if each.name == "neuron_exporter_config"]
        return family.samples[0].labels["sha256"]

    parts = ReloadedPipeline(cloudwatch__extra_dimensions={"A": "1", "B": "2"})
    first = digest()
    parts.apply(cloudwatch__extra_dimensions={"A": "1", "B": "3"})
    assert digest() != first
    parts.apply(cloudwatch__extra_dimensions={"B": "2", "A": "1"}, prometheus__preset="full")
    assert digest() == first
    assert len(first) == 64


# Errors


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        (
            {"source__period": "1s", "web__page": False},
            [
                "a.yaml: source.period: requires a restart (current: 5s, new: 1s)",
                "a.yaml: web.page: requires a restart (current: True, new: False)",
            ],
        ),
        (
            {"prometheus__include": ["neuroncore_utilisation_ratio"]},
            [
                "a.yaml: prometheus.include: matches no metric; did you mean "
                "neuroncore_utilization_ratio",
            ],
        ),
    ],
)
def test_rejected_configuration_changes_nothing(
    settings: dict[str, Any], problems: list[str]
) -> None:
    parts = ReloadedPipeline()
    parts.report(3)
    parts.report()
    config, exposed = parts.pipeline.config, parts.exposed()
    with pytest.raises(ConfigError) as caught:
        parts.apply(prometheus__preset="minimal", log__level="debug", **settings)
    assert len(caught.value.problems) == len(problems)
    for problem, expected in zip(caught.value.problems, problems, strict=True):
        assert problem.startswith(expected)
    assert parts.pipeline.config is config
    parts.report()
    assert parts.exposed() == exposed


# The source


def test_groups_follow_selections() -> None:
    parts = ReloadedPipeline(prometheus__preset="minimal")
    source: Any = parts.pipeline.source
    before, groups = source._configuration, parts.pipeline.groups
    parts.apply(prometheus__preset="minimal", log__level="debug")
    assert source._configuration == before
    parts.apply()
    assert source._configuration != before
    assert groups < parts.pipeline.groups


def test_source_state_is_kept() -> None:
    parts = ReloadedPipeline()
    parts.report()
    parts.apply(prometheus__preset="minimal")
    assert parts.pipeline.processor.status().state is SourceState.OK


# The identity


def test_new_dimension_sets_start_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUIET, "identity.imds", True)
    settings = {
        "identity__instance_id": "i-1",
        "identity__instance_type": "trn1.2xlarge",
        "identity__region": "eu-west-1",
        "cloudwatch__enabled": True,
        "prometheus__enabled": False,
    }
    nowhere = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
    parts = ReloadedPipeline(**settings)
    assert parts.pipeline.identity_resolver is None
    sets = [["InstanceId"], ["AutoScalingGroupName"]]
    new = loaded(_dotted({**settings, "cloudwatch__dimension_sets": sets}))
    reconfigure(parts.pipeline, new, nowhere)
    first = parts.pipeline.identity_resolver
    assert first is not None
    again = [*sets, ["SubnetId"]]
    reconfigure(
        parts.pipeline, loaded(_dotted({**settings, "cloudwatch__dimension_sets": again})), nowhere
    )
    second = parts.pipeline.identity_resolver
    assert second is not None
    assert second is not first
    assert first._stopping.is_set()
    second.stop()
    for identity_resolver in (first, second):
        identity_resolver._thread.join(60)
        assert not identity_resolver._thread.is_alive()


# The web configuration


def test_web_config_file_can_add_protection_only(tmp_path: Path) -> None:
    guarded, other, bare = (tmp_path / name for name in ("guarded", "other", "bare"))
    guarded.write_text(f'basic_auth_users: {{me: "{bcrypt_hash("x")}"}}\n')
    other.write_text(f'basic_auth_users: {{you: "{bcrypt_hash("y")}"}}\n')
    bare.write_text("{}\n")
    parts = ReloadedPipeline()
    for path in (bare, guarded, other):
        assert parts.apply(prometheus__web_config_file=str(path)) == ["prometheus.web_config_file"]
    assert parts.pipeline.web_config is not None
    access = parts.pipeline.web_config.access()
    assert access.passwords is not None
    for path in (str(bare), None):
        with pytest.raises(
            ConfigError, match="basic_auth_users: set -> not set: cannot be weakened"
        ):
            parts.apply(prometheus__web_config_file=path)
    assert parts.pipeline.web_config.access() is access
    with pytest.raises(ConfigError, match="cannot be read"):
        parts.apply(prometheus__web_config_file=str(tmp_path / "nowhere"))


def test_invalid_web_configuration_does_not_block_reload(tmp_path: Path) -> None:
    path = tmp_path / "web.yml"
    path.write_text("{}\n")
    parts = ReloadedPipeline(prometheus__web_config_file=str(path))
    path.write_text("tls_server_config: [")
    assert parts.apply(prometheus__web_config_file=str(path), log__level="error") == ["log.level"]
