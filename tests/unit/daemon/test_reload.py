"""The parts take another configuration while they run, and forget nothing that was counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from neuron_exporter.config import ConfigError, Given, Loaded, load
from neuron_exporter.daemon.reconfigure import reconfigure
from neuron_exporter.daemon.routes import Endpoints
from neuron_exporter.model import Moment, SourceState
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.web import Request
from tests.support.reports import ecc, executions, report, runtime
from tests.support.web_config import hashed

QUIET = {"identity.imds": False, "identity.ecs": False}
TOTALS = "neuron_executions_total"


def loaded(settings: Mapping[str, Any]) -> Loaded:
    """A configuration with these keys."""
    flags = [Given("a.yaml", key, value) for key, value in {**QUIET, **settings}.items()]
    return load(flags=flags)


class Parts:
    """A pipeline that is fed by hand."""

    def __init__(self, **settings: Any) -> None:
        self.pipeline: Pipeline = build(loaded(_dotted(settings)), environment={})
        self._now = 1000.0

    def take(self, **settings: Any) -> list[str]:
        """Take another configuration; gives the keys that changed."""
        new = loaded(_dotted(settings))
        return [each.key for each in reconfigure(self.pipeline, new, environment={})]

    def report(self, completed: int = 0, **more: Any) -> None:
        """Read a report with so many executions."""
        self._now += 5
        stats = executions(completed)
        line = json.dumps(report(runtime(execution_stats=stats), **more)).encode()
        self.pipeline.intake.line(memoryview(line), Moment(self._now, self._now))

    def shown(self) -> dict[str, float]:
        """What Prometheus is shown: the sum of each metric's samples, by their name."""
        assert self.pipeline.prometheus is not None
        text = self.pipeline.prometheus.expose(self._now).decode()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
        return found


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in settings.items()}


# What is shown and collected


def test_another_selection_is_shown_with_the_next_scrape_and_report() -> None:
    """What is taken away is gone at once; what is added comes with the next report, and what was
    counted is in it, whether it was shown or not."""
    parts = Parts(prometheus__exclude=["neuron_executions_total"])
    parts.report(3)
    assert TOTALS not in parts.shown()
    assert "neuron_execution_errors_total" in parts.shown()

    assert parts.take(prometheus__exclude=["neuron_execution_errors_total"]) == [
        "prometheus.exclude"
    ]
    assert "neuron_execution_errors_total" not in parts.shown()
    parts.report(4)
    assert parts.shown()[TOTALS] == 7
    assert parts.shown()["execution_status_total"] == 7


def test_ecc_goes_on_from_where_it_stood() -> None:
    """Errors that came while nobody was shown them are counted when somebody is again."""
    parts = Parts()
    for reading in (4, 5):
        parts.report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": reading}, {})})
    before = parts.shown()["hardware_ecc_events_total"]
    parts.take(prometheus__exclude=["hardware_ecc_*", "neurondevice_*"])
    parts.report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 7}, {})})
    parts.take()
    parts.report(system_data={"neuron_hw_counters": ecc({"mem_ecc_corrected": 8}, {})})
    assert parts.shown()["hardware_ecc_events_total"] == before + 3


def test_values_keep_their_names() -> None:
    """Rows that take the place of as many others, of the same place, are shown as themselves."""
    system = {"memory_info": {"period": 5, "memory_total_bytes": 64, "swap_total_bytes": 8}}
    chosen: dict[str, Any] = {
        "prometheus__preset": "minimal",
        "prometheus__exclude": ["neuron*", "*_info"],
    }
    parts = Parts(**chosen, prometheus__include=["system_memory_total_bytes"])
    parts.report(system_data=system)
    assert parts.shown() == {"system_memory_total_bytes": 64}
    parts.take(**chosen, prometheus__include=["system_swap_total_bytes"])
    assert parts.shown() == {}
    parts.report(system_data=system)
    assert parts.shown() == {"system_swap_total_bytes": 8}


def test_label_filters_are_taken_without_a_report() -> None:
    """A selection of the same rows needs no other snapshot."""
    parts = Parts(prometheus__include=[TOTALS], prometheus__preset="minimal")
    parts.report(3)
    parts.take(
        prometheus__include=[TOTALS],
        prometheus__preset="minimal",
        prometheus__exclude=[f'{TOTALS}{{status_type="completed"}}'],
    )
    assert parts.shown()[TOTALS] == 0


def test_series_are_counted_of_what_is_selected_only() -> None:
    """How many series a metric has is told of those that are shown, not of former ones."""
    parts = Parts()
    parts.report(3)
    endpoints = Endpoints(parts.pipeline, list)

    def counted() -> bool:
        answer = endpoints.metrics(Request("/metrics", Message()))
        return b'neuron_exporter_series{metric="neuron_executions_total"}' in b"".join(answer.body)

    assert counted()
    parts.take(prometheus__exclude=[TOTALS])
    assert not counted()
    parts.take()
    parts.report()
    assert counted()


def test_both_lanes_of_a_task_take_their_own_rows() -> None:
    """A sidecar's CloudWatch and its Prometheus are told apart after a reload as before."""
    more = {
        "source__kind": "stdin",
        "cloudwatch__enabled": True,
        "cloudwatch__scope": "task",
        "cloudwatch__dimension_sets": [["TaskId"]],
        "cloudwatch__transport": "emf",
    }
    parts = Parts(prometheus__preset="minimal", **more)
    parts.report(3)
    parts.take(prometheus__preset="full", cloudwatch__preset="full", **more)
    parts.report(4)
    assert parts.shown()[TOTALS] == 7
    lanes = (parts.pipeline.intake._main, *parts.pipeline.intake._others)
    collected = [{row.name for rows in l.collector._rows.values() for row in rows} for l in lanes]  # noqa: E741
    assert "system_memory_total_bytes" in collected[0]
    assert "system_memory_total_bytes" not in collected[1]


# What is refused


@pytest.mark.parametrize(
    ("settings", "problems"),
    [
        (
            {"source__period": "1s", "web__page": False},
            [
                "a.yaml: source.period: takes a restart: 5s is in use, 1s was given",
                "a.yaml: web.page: takes a restart: True is in use, False was given",
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
def test_a_refusal_takes_nothing(settings: dict[str, Any], problems: list[str]) -> None:
    """What takes a restart and what is wrong are named, and not even the rest is taken."""
    parts = Parts()
    parts.report(3)
    config, shown = parts.pipeline.config, parts.shown()
    with pytest.raises(ConfigError) as refused:
        parts.take(prometheus__preset="minimal", log__level="debug", **settings)
    assert len(refused.value.problems) == len(problems)
    for got, wanted in zip(refused.value.problems, problems, strict=True):
        assert got.startswith(wanted)
    assert parts.pipeline.config is config
    parts.report()
    assert parts.shown() == shown


# The source


def test_other_groups_are_asked_for_only_where_they_are_wanted() -> None:
    """neuron-monitor's configuration follows the union of what the sinks select."""
    parts = Parts(prometheus__preset="minimal")
    source: Any = parts.pipeline.source
    before, groups = source._configuration, parts.pipeline.groups
    parts.take(prometheus__preset="minimal", log__level="debug")
    assert source._configuration == before
    parts.take()
    assert source._configuration != before
    assert groups < parts.pipeline.groups


def test_a_state_of_the_source_survives() -> None:
    """A reload is no start: what the source was doing it still does."""
    parts = Parts()
    parts.report()
    parts.take(prometheus__preset="minimal")
    assert parts.pipeline.intake.status().state is SourceState.OK


# The identity


def test_fields_of_new_sets_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set that needs what only the metadata service knows makes somebody ask it."""
    monkeypatch.setitem(QUIET, "identity.imds", True)
    known = {
        "identity__instance_id": "i-1",
        "identity__instance_type": "trn1.2xlarge",
        "identity__region": "eu-west-1",
        "cloudwatch__enabled": True,
        "prometheus__enabled": False,
    }
    nowhere = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"}
    parts = Parts(**known)
    assert parts.pipeline.finder is None
    sets = [["InstanceId"], ["AutoScalingGroupName"]]
    new = loaded(_dotted({**known, "cloudwatch__dimension_sets": sets}))
    reconfigure(parts.pipeline, new, nowhere)
    first = parts.pipeline.finder
    assert first is not None
    again = [*sets, ["SubnetId"]]
    reconfigure(
        parts.pipeline, loaded(_dotted({**known, "cloudwatch__dimension_sets": again})), nowhere
    )
    second = parts.pipeline.finder
    assert second is not None
    assert second is not first
    assert first._stopping.is_set()
    second.stop()
    for finder in (first, second):
        finder._thread.join(10)
        assert not finder._thread.is_alive()


# The web configuration


def test_another_web_configuration_protects_at_once_and_cannot_open(tmp_path: Path) -> None:
    """Its path may change; a reload may begin to protect, and never cease to."""
    guarded, other, bare = (tmp_path / name for name in ("guarded", "other", "bare"))
    guarded.write_text(f'basic_auth_users: {{me: "{hashed("x")}"}}\n')
    other.write_text(f'basic_auth_users: {{you: "{hashed("y")}"}}\n')
    bare.write_text("{}\n")
    parts = Parts()
    for path in (bare, guarded, other):
        assert parts.take(prometheus__web_config_file=str(path)) == ["prometheus.web_config_file"]
    assert parts.pipeline.web_config is not None
    access = parts.pipeline.web_config.access()
    assert access.passwords is not None
    for path in (str(bare), None):
        with pytest.raises(ConfigError, match="basic_auth_users: cannot be taken away"):
            parts.take(prometheus__web_config_file=path)
    assert parts.pipeline.web_config.access() is access
    with pytest.raises(ConfigError, match="cannot be read"):
        parts.take(prometheus__web_config_file=str(tmp_path / "nowhere"))


def test_a_web_configuration_that_is_sick_now_holds_nothing_up(tmp_path: Path) -> None:
    """Who follows its own file is refused by itself, not together with everything else."""
    path = tmp_path / "web.yml"
    path.write_text("{}\n")
    parts = Parts(prometheus__web_config_file=str(path))
    path.write_text("tls_server_config: [")
    assert parts.take(prometheus__web_config_file=str(path), log__level="error") == ["log.level"]
