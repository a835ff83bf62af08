"""The OTLP section beyond the schema: errors, warnings, settings, and the sink among the parts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.config import ConfigError, LoadedConfig, Override, load
from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import Group, Layout, Timestamp
from neuron_exporter.pipeline.build import Pipeline, build, validate
from neuron_exporter.pipeline.otlp import (
    monthly_bytes,
    otlp_settings,
    shown_endpoint,
    transport_settings,
)
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from neuron_exporter.sinks.otlp.request import ExportRequest
from neuron_exporter.sinks.otlp.settings import HeaderFile
from tests.support.otlp_points import read_points
from tests.support.reports import cores, executions, report, runtime

URL = "http://127.0.0.1:4318"
START = 1_700_000_040.0


def loaded(keys: Mapping[str, Any]) -> LoadedConfig:
    """Load a configuration with OTLP on and these keys."""
    on = {"otlp.enabled": True, "otlp.endpoint": URL, "otlp.spool.path": None, **keys}
    return load(flags=[Override("test", key, value) for key, value in on.items()])


def built(keys: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Pipeline:
    """Build the parts for these keys."""
    return build(loaded(keys), environment=environment or {})


def problems(keys: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the errors of these keys."""
    with pytest.raises(ConfigError) as caught:
        built(keys, environment)
    return [line.removeprefix("test: ") for line in caught.value.problems]


def warnings(keys: Mapping[str, Any]) -> list[str]:
    """Return the warnings about these keys."""
    return [line.removeprefix("test: ") for line in built(keys).warnings]


class Sent:
    """A pipeline that has read reports for some minutes, and the requests that it would send."""

    def __init__(self, keys: Mapping[str, Any], minutes: int = 2) -> None:
        self._now = START
        self.requests: list[ExportRequest] = []
        self.parts = build(
            loaded({**keys, "identity.instance_id": "i-1"}),
            environment={},
            connect_otlp=lambda _: self,
            clock=lambda: self._now,
        )
        assert self.parts.otlp is not None
        counters = {"neuroncore_counters": cores(_0=90, _2=40), "execution_stats": executions(9)}
        document = json.dumps(report(runtime(1, "a", **counters))).encode()
        for _ in range(6 * minutes):  # it sends some seconds after the end of an interval
            self.parts.processor.on_line(memoryview(document), Timestamp(self._now, self._now))
            self._now += 10
            self.parts.otlp.run_once()

    def send(self, request: ExportRequest) -> Outcome:
        """Record the request."""
        self.requests.append(request)
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def names(self) -> set[str]:
        """Return the names of the metrics."""
        bodies = (request.body for request in self.requests)
        return {point.name for body in bodies for point in read_points(body, self._now)}


# Errors


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"otlp.endpoint": None},
            "otlp.endpoint: is required, as the URL of a collector; without one, auth: sigv4 sends "
            "to CloudWatch",
        ),
        (
            {"otlp.tls.cert_file": "/etc/cert.pem"},
            "otlp.tls.cert_file: needs otlp.tls.key_file (got '/etc/cert.pem')",
        ),
        (
            {"otlp.tls.key_file": "/etc/key.pem"},
            "otlp.tls.key_file: needs otlp.tls.cert_file (got '/etc/key.pem')",
        ),
        (
            {"otlp.auth": "sigv4", "otlp.headers": {"authorization": "Bearer x"}},
            "otlp.headers: authorization is set by the exporter itself with auth: sigv4",
        ),
        (
            {"otlp.spool.path": "spool.db"},
            "otlp.spool.path: must be the absolute path of a file (got 'spool.db')",
        ),
        (
            {
                "otlp.spool.path": "/var/lib/a.db",
                "cloudwatch.spool.path": "/var/lib/a.db",
                "cloudwatch.enabled": True,
            },
            "otlp.spool.path: must be another file than cloudwatch.spool.path (got "
            "'/var/lib/a.db')",
        ),
        (
            {"otlp.interval": "10m", "otlp.spool.max_age": "20m"},
            "otlp.spool.max_age: must be at least 21m, which is twice otlp.interval (10m) and a "
            "minute (got '20m')",
        ),
        (
            {"otlp.include": ["neuroncore_utilisation_ratio"]},
            "otlp.include: matches no metric; did you mean neuroncore_utilization_ratio, "
            "neuroncore_physical_utilization_ratio, neurondevice_memory_utilization_ratio? (got "
            "'neuroncore_utilisation_ratio')",
        ),
        (
            {"otlp.budget.keep": ['neuroncore_*{neuroncore="1"}']},
            "otlp.budget.keep: must have no labels: the budget drops whole metrics (got a text of "
            "28 characters)",
        ),
        (
            {"otlp.headers": {"X-Key": {"variable": "OTLP_KEY"}}},
            "otlp.headers: X-Key refers to the variable OTLP_KEY, which is not set",
        ),
    ],
)
def test_errors(keys: Mapping[str, Any], expected: str) -> None:
    assert expected in problems(keys)


def test_section_is_checked_while_off() -> None:
    assert problems({"otlp.enabled": False, "otlp.spool.path": "a"}) == [
        "otlp.spool.path: must be the absolute path of a file (got 'a')"
    ]
    built({"otlp.enabled": False, "otlp.endpoint": None})


@pytest.mark.parametrize(
    ("keys", "is_refused"),
    [
        ({}, False),
        ({"otlp.endpoint": "https://collector.example.com"}, False),
        ({"otlp.endpoint": "https://in.elb.us-east-1.amazonaws.com"}, False),
        ({"otlp.endpoint": "https://monitoring.us-east-1.amazonaws.com"}, True),
        ({"otlp.endpoint": "https://monitoring.cn-north-1.amazonaws.com.cn/v1/metrics"}, True),
        ({"otlp.endpoint": None, "otlp.auth": "sigv4"}, True),
        ({"otlp.endpoint": None, "otlp.auth": "sigv4", "otlp.allow_simulated": True}, False),
    ],
)
def test_simulated_values(keys: Mapping[str, Any], *, is_refused: bool) -> None:
    """Simulated values go to a collector of one's own, not to AWS."""
    keys = {"source.kind": "simulator", **keys}
    if is_refused:
        (line,) = problems(keys)
        assert line.startswith('source.kind: "simulator" does not measure this machine')
        assert "otlp.allow_simulated" in line
    else:
        assert built(keys).otlp is not None


# Warnings


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"otlp.endpoint": "http://collector:4318", "otlp.headers": {"X-Key": "a"}},
            "otlp.endpoint: sends otlp.headers without encryption: the URL begins with http:// "
            "(http://collector:4318/v1/metrics)",
        ),
        (
            {"otlp.endpoint": "https://monitoring.us-east-1.amazonaws.com"},
            "otlp.endpoint: is AWS's (https://monitoring.us-east-1.amazonaws.com/v1/metrics), "
            "which rejects requests without otlp.auth: sigv4",
        ),
        (
            {"otlp.tls.ca_file": "/dev/null"},
            f"otlp.tls: has no effect: otlp.endpoint is {URL}/v1/metrics, without TLS",
        ),
        (
            {"otlp.headers": {"X-Key": {"file": "/nonexistent/key"}}},
            "otlp.headers: X-Key names a file that does not exist",
        ),
        (
            {"otlp.endpoint": "https://a", "otlp.tls.ca_file": "/nonexistent/ca.pem"},
            "otlp.tls.ca_file: names a file that does not exist",
        ),
        (
            {"otlp.headers": {"X-Key": "Bearer ${OTLP_KEY}"}},
            "otlp.headers: X-Key has a placeholder that is not replaced; use {variable: NAME}",
        ),
        (
            {"otlp.interval": "2s"},
            "otlp.interval: is shorter than source.period (5s): most points repeat the last "
            "reading (got '2s')",
        ),
        (
            {"otlp.auth": "sigv4", "otlp.endpoint": None, "identity.region": "eu-west1"},
            'identity.region: is not a region of AWS; regions have the form of "us-east-1" (got '
            "'eu-west1')",
        ),
        ({"otlp.enabled": False}, None),
    ],
)
def test_warnings(keys: Mapping[str, Any], expected: str | None) -> None:
    found = warnings(keys)
    assert expected in found if expected else found == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "169.254.1.1", "[fe80::1]"])
def test_headers_to_this_machine_need_no_encryption(host: str) -> None:
    keys = {"otlp.endpoint": f"http://{host}:4318", "otlp.headers": {"X-Key": "a"}}
    assert warnings(keys) == []


def test_keys_without_the_sink() -> None:
    parts = build(load(flags=[Override("test", "otlp.interval", "30s")]), environment={})
    assert parts.warnings == ("test: otlp: has no effect: otlp.enabled is not set",)
    assert parts.otlp is None


# Settings


@pytest.mark.parametrize(
    ("url", "used", "shown"),
    [
        ("http://a:4318", "http://a:4318/v1/metrics", None),
        ("http://a:4318/", "http://a:4318/v1/metrics", None),
        ("http://a/otlp/v1/metrics", "http://a/otlp/v1/metrics", None),
        ("http://a/opentelemetry/v1", "http://a/opentelemetry/v1", None),
        (
            "https://a/in/0a1b2c3d4e5f0a1b2c3d4e5f/v1",
            "https://a/in/0a1b2c3d4e5f0a1b2c3d4e5f/v1",
            "https://a/in/***/v1",
        ),
        (None, None, "CloudWatch"),
    ],
)
def test_endpoint(url: str | None, used: str | None, shown: str | None) -> None:
    """A part of the path that may be a key is not shown."""
    config = loaded({"otlp.endpoint": url, "otlp.auth": "sigv4"}).config
    assert otlp_settings(config).endpoint == used
    assert transport_settings(config.otlp, {}).endpoint == used
    assert shown_endpoint(config.otlp) == (shown or used)


def test_headers_of_the_transport() -> None:
    headers = {"A": "text", "B": {"file": "/run/key"}, "C": {"variable": "KEY"}}
    settings = transport_settings(loaded({"otlp.headers": headers}).config.otlp, {"KEY": "value"})
    assert settings.headers == {"A": "text", "B": HeaderFile("/run/key"), "C": "value"}
    assert "value" not in repr(settings)


def test_settings_of_the_sink() -> None:
    settings = otlp_settings(
        loaded(
            {
                "prometheus.labels": {"team": "search"},
                "prometheus.identity_labels": ["instance_id"],
                "otlp.spool.path": "/var/lib/{task_id}/spool.db",
                "otlp.budget.max_monthly_usd": 2.0,
                "otlp.budget.keep": ["neuroncore_*"],
            }
        ).config
    )
    assert settings.labels == (("team", "search"),)
    assert settings.identity_labels == ["instance_id"]
    assert settings.spool_names == ["task_id"]
    assert settings.keep == ["neuroncore_*"]
    assert settings.monthly_bytes == 4 * 10**9
    assert settings.sigv4 is False
    assert monthly_bytes(loaded({}).config.otlp) is None


# The sink among the parts


def test_default_selection_is_that_of_prometheus() -> None:
    selections, _ = validate(loaded({"prometheus.layout": "aws"}))
    rows = [row for row in CATALOGUE if Layout.CORE in row.layouts and row.preset <= 3]
    assert list(selections["otlp"].rows) == rows


def test_groups_of_neuron_monitor() -> None:
    keys = {"prometheus.enabled": False, "otlp.preset": "none"}
    parts = built({**keys, "otlp.include": ["system_memory_total_bytes"]})
    assert parts.groups == {Group.MEMORY_INFO}
    assert [sink.name for sink in parts.senders] == ["otlp"]


def test_own_metrics_exist_only_with_the_sink() -> None:
    def names(parts: Pipeline) -> set[str]:
        return {family.name for family in parts.telemetry.registry.collect()}

    own = {f"neuron_exporter_otlp_{name}" for name in ("points", "bytes", "rejected_points")}
    assert own <= names(built({}))
    off = names(built({"otlp.enabled": False}))
    assert not [name for name in off if "otlp" in name]


def test_what_is_sent() -> None:
    sent = Sent({})
    assert {"neuroncore_utilization_ratio", "neuron_executions_total"} <= sent.names()
    assert {request.namespace for request in sent.requests} == {f"{URL}/v1/metrics"}
    spool = sent.parts.telemetry.spool_bytes
    assert {s.labels["sink"] for each in spool.collect() for s in each.samples} == {"otlp"}


def test_machine_beside_the_scope_of_a_task() -> None:
    """With `scope: task` for CloudWatch, OTLP sends the whole machine, as Prometheus shows it."""
    parts = built(
        {
            "source.kind": "stdin",
            "prometheus.enabled": False,
            "cloudwatch.enabled": True,
            "cloudwatch.transport": "emf",
            "cloudwatch.scope": "task",
            "cloudwatch.dimension_sets": [["TaskId"]],
        }
    )
    main, *others = (parts.processor._main, *parts.processor._others)
    assert [sink.name for sink in main.sinks] == ["otlp"]
    assert [[sink.name for sink in branch.sinks] for branch in others] == [["cloudwatch"]]


def test_dry_run_of_cloudwatch_sends_nothing_by_otlp() -> None:
    keys = {"cloudwatch.enabled": True, "cloudwatch.spool.path": None}
    parts = build(loaded(keys), environment={}, connect=lambda _: pytest.fail("not used"))
    assert [sink.name for sink in parts.senders] == ["cloudwatch"]
    both = Sent(keys, minutes=0).parts
    assert [sink.name for sink in both.senders] == ["otlp"]


def test_spool_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "otlp.db"
    Sent({"otlp.spool.path": str(path)})
    assert path.exists()
