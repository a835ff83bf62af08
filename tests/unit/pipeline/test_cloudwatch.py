"""The CloudWatch section: errors, the budget, and publishing one task of a machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from neuron_exporter.config import ConfigError, LoadedConfig, Override, load
from neuron_exporter.identity.local import present_devices
from neuron_exporter.model import Timestamp
from neuron_exporter.pipeline import branches
from neuron_exporter.pipeline.build import Pipeline, build
from neuron_exporter.pipeline.cloudwatch import check_simulated, metric_limit
from neuron_exporter.sinks.cloudwatch.datums import Datum
from neuron_exporter.sinks.cloudwatch.request import PutMetricDataRequest
from neuron_exporter.sinks.delivery.transport import Outcome, Verdict
from tests.support.reports import cores, executions, report, runtime

START = 1_700_000_040.0


def loaded(keys: dict[str, Any]) -> LoadedConfig:
    """Load a configuration with CloudWatch on and these keys."""
    on = {
        "cloudwatch.enabled": True,
        "cloudwatch.region": "us-east-1",
        "cloudwatch.spool.path": None,
        **keys,
    }
    return load(flags=[Override(f"--{key}", key, value) for key, value in on.items()])


def problems(keys: dict[str, Any], variables: Mapping[str, str] | None = None) -> list[str]:
    """Return the errors of these keys, in this environment."""
    with pytest.raises(ConfigError) as caught:
        build(loaded(keys), environment=variables or {})
    return list(caught.value.problems)


class Published:
    """A pipeline that has read reports for some minutes, and the transport of its datums."""

    def __init__(self, keys: dict[str, Any], minutes: Iterable[Any]) -> None:
        self._now = START
        self.datums: list[Datum] = []
        self.parts: Pipeline = build(
            loaded(keys), environment={}, connect=lambda _: self, clock=lambda: self._now
        )
        sink = self.parts.cloudwatch
        assert sink is not None
        for document in minutes:
            line = memoryview(json.dumps(document).encode())
            self.parts.processor.on_line(line, Timestamp(self._now, self._now))
            self._now += 60
            sink.run_once()
        self.status = sink.status()

    def send(self, request: PutMetricDataRequest) -> Outcome:
        """Record the datums."""
        self.datums += request.items
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def names(self) -> set[str]:
        """Return the names of the published metrics."""
        return {datum["MetricName"] for datum in self.datums}

    def values(self, name: str) -> list[float]:
        """Return the values of a metric."""
        return [
            value
            for datum in self.datums
            if datum["MetricName"] == name
            for value in datum.get("Values", [datum.get("Value")])
        ]

    def own(self, name: str) -> float | None:
        """Return one of the exporter's own metrics."""
        registry = self.parts.telemetry.registry
        return registry.get_sample_value(f"neuron_exporter_cloudwatch_{name}")


# Errors


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            {"cloudwatch.dimension_sets": [[f"D{n}" for n in range(31)]]}
            | {"cloudwatch.extra_dimensions": {f"D{n}": "x" for n in range(31)}},
            "cloudwatch.dimension_sets.0: must have at most 30 dimensions, extra_dimensions "
            "included (got 31)",
        ),
        (
            {"cloudwatch.budget.max_monthly_usd": 0.2},
            "cloudwatch.budget.max_monthly_usd: is less than the price of one metric (0.30 USD a "
            "month) (got 0.2)",
        ),
        (
            {"cloudwatch.budget.max_metrics": 2, "cloudwatch.budget.keep": ["Execution*"]},
            "cloudwatch.budget.max_metrics: is less than the 4 metrics that are never dropped: "
            "ExecutionErrors, ExecutionLatency, ExecutionsCompleted, ExporterHeartbeat in 1 "
            "dimension set(s) (got 2)",
        ),
        (
            {"cloudwatch.budget.max_monthly_usd": 0.5}
            | {"cloudwatch.dimension_sets": [["InstanceId"], ["Region"]]},
            "cloudwatch.budget.max_monthly_usd: is less than the 2 metrics that are never dropped: "
            "ExporterHeartbeat in 2 dimension set(s) (got 0.5)",
        ),
        (
            {"cloudwatch.budget.max_metrics": 4, "cloudwatch.budget.keep": ["NeuronCore*"]}
            | {"cloudwatch.dimension_sets": [["InstanceId"], ["PodName"]]},
            "cloudwatch.budget.max_metrics: is less than the 5 metrics that are never dropped: "
            "ExporterHeartbeat, NeuronCoreUtilization, NeuronCoresInUse in 2 dimension set(s)",
        ),
        (
            {"cloudwatch.budget.keep": ["ExecutionLatncy"]},
            "cloudwatch.budget.keep: matches no metric; did you mean ExecutionLatency",
        ),
        (
            {"cloudwatch.dimension_sets": [["PodNam"]]},
            "cloudwatch.dimension_sets.0: unknown dimension; did you mean PodName",
        ),
        (
            {"cloudwatch.scope": "task"},
            "cloudwatch.dimension_sets: with scope task, one set must distinguish the tasks of a "
            "machine, such as [ServiceName]",
        ),
        (
            {"cloudwatch.scope": "task", "cloudwatch.include": ["HostCpu*"]}
            | {"cloudwatch.dimension_sets": [["ServiceName"]]},
            "cloudwatch.include: is a metric of the whole machine, which is not sent with "
            "scope: task (got 'HostCpu*')",
        ),
        (
            {"cloudwatch.scope": "task"}
            | {"cloudwatch.dimension_sets": [["ServiceName", "ContainerName"]]},
            "cloudwatch.dimension_sets.0: is not available with scope task: use PodName or TaskId "
            "(got 'ContainerName')",
        ),
        (
            {"cloudwatch.spool.path": "/tmp/"},  # noqa: S108 (no file is created)
            "cloudwatch.spool.path: must be the absolute path of a file (got '/tmp/')",
        ),
        (
            {"cloudwatch.flush_interval": "5m", "cloudwatch.spool.max_age": "1m"},
            "cloudwatch.spool.max_age: must be at least 11m, which is twice "
            "cloudwatch.flush_interval (5m) and a minute (got '1m')",
        ),
        (
            {"cloudwatch.flush_interval": "1s", "cloudwatch.spool.max_age": "61s"},
            "cloudwatch.spool.max_age: must be at least 62s, which is twice "
            "cloudwatch.flush_interval (1s) and a minute (got '61s')",
        ),
    ],
)
def test_invalid_section_is_rejected(keys: dict[str, Any], problem: str) -> None:
    (found,) = problems(keys)
    assert problem in found


def test_zero_budget_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded({"cloudwatch.budget.max_metrics": 0, "cloudwatch.budget.max_monthly_usd": 0})
    assert [line.partition(": ")[2] for line in caught.value.problems] == [
        "cloudwatch.budget.max_metrics: must be at least 1 (got 0)",
        "cloudwatch.budget.max_monthly_usd: must be more than 0 (got 0)",
    ]


def test_minimum_spool_age_is_accepted() -> None:
    build(
        loaded({"cloudwatch.flush_interval": "5m", "cloudwatch.spool.max_age": "11m"}),
        environment={},
    )
    build(loaded({"cloudwatch.enabled": False, "cloudwatch.spool.max_age": "1m"}), environment={})


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        ({}, 100),
        ({"cloudwatch.budget.max_metrics": None}, None),
        ({"cloudwatch.budget.max_monthly_usd": 3.0}, 10),
        ({"cloudwatch.budget.max_monthly_usd": 2.99}, 9),
        ({"cloudwatch.budget.max_monthly_usd": 6.6}, 22),
        ({"cloudwatch.budget.max_monthly_usd": 6, "cloudwatch.budget.max_metrics": 15}, 15),
        ({"cloudwatch.budget.max_monthly_usd": 6, "cloudwatch.budget.max_metrics": 25}, 20),
    ],
)
def test_metric_limit_of_a_price(keys: dict[str, Any], limit: int | None) -> None:
    assert metric_limit(loaded(keys).config.cloudwatch) == limit


# The budget, from end to end


def test_budget_drops_are_reported() -> None:
    """Log, metrics and status name the dropped metrics and the price of all."""
    keys = {
        "cloudwatch.budget.max_metrics": 8,
        "cloudwatch.budget.keep": ["HostMemory*"],
        "cloudwatch.preset": "minimal",
        "cloudwatch.include": ["HostMemoryUsed", "HostMemoryUtilization"],
        "cloudwatch.dimension_sets": [["InstanceId"], ["Region"]],
    }
    memory = {"memory_total_bytes": 100, "memory_used_bytes": 25, "period": 5, "error": ""}
    document = report(
        runtime(1, neuroncore_counters=cores(_0=50), execution_stats=executions(1)),
        system_data={"memory_info": memory},
    )
    with structlog.testing.capture_logs() as log:
        published = Published(keys, [document] * 3)
    by_set = {
        names: {d["MetricName"] for d in published.datums if d["Dimensions"][0]["Name"] == names}
        for names in ("InstanceId", "Region")
    }
    kept = {"ExporterHeartbeat", "HostMemoryUsed", "HostMemoryUtilization"}
    assert by_set["Region"] == kept | {"NeuronCoreUtilization", "ExecutionErrors"}
    assert by_set["InstanceId"] == kept
    (event,) = [entry for entry in log if entry["event"] == "over_budget"]
    assert (event["budget"], event["wanted"], event["wanted_monthly_usd"]) == (8, 10, 3.0)
    assert event["dropped"] == ["ExecutionErrors, NeuronCoreUtilization in [InstanceId]"]
    assert published.own("metrics") == 8
    assert published.own("wanted_metrics") == 10
    assert published.own("budget_dropped_metrics") == 2
    assert published.status["metrics"] == "8, 2.40 USD a month at most"
    assert published.status["wanted"] == "10, 3.00 USD a month at most; the budget is 8"
    assert published.status["dropped"] == event["dropped"][0]


# Simulated values


IGNORED = {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"}
"""With it, botocore uses no endpoint of the environment."""


@pytest.mark.parametrize(
    ("keys", "variables", "is_refused"),
    [
        ({}, {}, True),
        ({"cloudwatch.endpoint_url": "https://monitoring.us-east-1.amazonaws.com"}, {}, True),
        (
            {"cloudwatch.endpoint_url": "https://x.monitoring.us-east-1.vpce.amazonaws.com"},
            {},
            True,
        ),
        ({"cloudwatch.endpoint_url": "https://monitoring.us-east-1.api.aws:443/"}, {}, True),
        ({}, {"AWS_ENDPOINT_URL": "https://monitoring.cn-north-1.amazonaws.com.cn"}, True),
        ({}, {"AWS_ENDPOINT_URL": "https://monitoring.eusc-de-east-1.amazonaws.eu"}, True),
        ({"cloudwatch.endpoint_url": "http://moto:5000"}, {}, False),
        ({"cloudwatch.endpoint_url": "https://notamazonaws.com"}, {}, False),
        ({}, {"AWS_ENDPOINT_URL_CLOUDWATCH": "http://127.0.0.1:4566"}, False),
        ({}, {"AWS_ENDPOINT_URL": "http://moto:5000", **IGNORED}, True),
        ({"cloudwatch.endpoint_url": "http://moto:5000"}, IGNORED, False),
        ({"cloudwatch.allow_simulated": True}, {}, False),
        ({"cloudwatch.transport": "emf"}, {}, False),
        ({"cloudwatch.enabled": False}, {}, False),
        ({"source.kind": "neuron-monitor"}, {}, False),
        ({"source.kind": "stdin"}, {}, False),
    ],
)
def test_simulated_values_are_not_sent_to_aws(
    keys: dict[str, Any], variables: dict[str, str], is_refused: bool
) -> None:
    config = loaded({"source.kind": "simulator", **keys})
    assert bool(check_simulated(config, variables)) == is_refused


BROKEN_URLS = {
    "http://[x": "must be a URL with a host and, if any, a valid port",
    "http://moto:port": "must be a URL with a host and, if any, a valid port",
    "https://": "must be a URL with a host and, if any, a valid port",
    "https://a b": "must be a URL without spaces",
    "moto:5000": "must be a URL that begins with http:// or https://",
}


@pytest.mark.parametrize("kind", ["simulator", "neuron-monitor"])
@pytest.mark.parametrize("url", BROKEN_URLS)
def test_a_broken_url_is_an_error(url: str, kind: str) -> None:
    (problem,) = problems({"source.kind": kind, "cloudwatch.endpoint_url": url})
    start = f"--cloudwatch.endpoint_url: cloudwatch.endpoint_url: {BROKEN_URLS[url]}"
    assert problem.startswith(start)
    assert problem.endswith(f"(got {url!r})")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL_CLOUDWATCH", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("url", BROKEN_URLS)
def test_a_broken_url_of_the_environment_is_an_error(url: str, name: str) -> None:
    for kind in ("simulator", "neuron-monitor"):
        (problem,) = problems({"source.kind": kind}, {name: url})
        assert problem.startswith(f"{name}: {BROKEN_URLS[url]}")
        assert problem.endswith(f"(got {url!r})")


@pytest.mark.parametrize(
    "keys",
    [
        {"cloudwatch.endpoint_url": "http://moto:5000"},
        {"cloudwatch.transport": "emf"},
        {"cloudwatch.enabled": False},
    ],
)
def test_a_broken_url_that_is_not_used_is_no_error(keys: dict[str, Any]) -> None:
    build(loaded(keys), environment={"AWS_ENDPOINT_URL": "http://[x"})


@pytest.mark.parametrize(
    "environment",
    [{"AWS_ENDPOINT_URL": "HTTP://moto:5000"}, {"AWS_ENDPOINT_URL": "http://[x", **IGNORED}],
)
def test_endpoints_that_botocore_accepts_or_ignores_are_no_errors(
    environment: dict[str, str],
) -> None:
    build(loaded({"source.kind": "neuron-monitor"}), environment=environment)


def test_the_error_names_both_ways_out() -> None:
    (problem,) = problems({"source.command": ["neuron-exporter", "simulate"]})
    assert problem == (
        'default: source.kind: "simulator" does not measure this machine, and its values would be '
        "sent to CloudWatch: set cloudwatch.allow_simulated, or cloudwatch.endpoint_url to a "
        "server that is not AWS's"
    )


# One task of several


@pytest.fixture
def second_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this container own the second of the machine's two devices."""
    (tmp_path / "neuron1").touch()
    monkeypatch.setattr(branches, "present_devices", lambda: present_devices(str(tmp_path)))


@pytest.mark.usefixtures("second_device")
def test_task_scope_publishes_own_cores() -> None:
    """Host, ECC and heartbeat are left out, and Prometheus still shows the whole machine."""
    keys = {"cloudwatch.scope": "task", "cloudwatch.dimension_sets": [["Region", "TaskId"]]}
    keys["cloudwatch.extra_dimensions"] = {"TaskId": "7"}
    document = report(
        runtime(1, "a", neuroncore_counters=cores(_0=90), execution_stats=executions(9)),
        runtime(2, "b", neuroncore_counters=cores(_2=40), execution_stats=executions(4)),
        system_data={
            "memory_info": {"memory_total_bytes": 100, "memory_used_bytes": 25, "error": ""}
        },
    )
    published = Published(keys, [document] * 2)
    assert published.names() == {
        *("NeuronCoreUtilization", "NeuronCoresInUse", "ExecutionsCompleted", "ExecutionErrors"),
    }
    assert sorted(set(published.values("NeuronCoreUtilization"))) == [0, 40]
    assert set(published.values("ExecutionsCompleted")) == {4}
    assert set(published.values("NeuronCoresInUse")) == {1}
    exposed = published.parts.prometheus
    assert exposed is not None
    text = exposed.expose(START + 61).decode()
    assert 'neuron_executions_total{status_type="completed"' in text
    (in_use,) = [line for line in text.splitlines() if line.startswith("neuroncores_in_use{")]
    assert in_use.endswith(" 2.0")


@pytest.mark.usefixtures("second_device")
@pytest.mark.parametrize(
    ("kind", "published"),
    [
        ("neuron-monitor", {0, 40}),
        ("stdin", {0, 40}),
        ("file", {0, 40, 90}),
        ("simulator", {0, 40, 90}),
    ],
)
def test_task_scope_applies_to_local_sources_only(
    tmp_path: Path, kind: str, published: set[float]
) -> None:
    path = tmp_path / "reports"
    path.touch()
    keys = {
        "source.kind": kind,
        **({"source.path": str(path)} if kind == "file" else {}),
        "cloudwatch.scope": "task",
        "cloudwatch.dimension_sets": [["TaskId"]],
        "cloudwatch.extra_dimensions": {"TaskId": "7"},
    }
    document = report(
        runtime(1, "a", neuroncore_counters=cores(_0=90)),
        runtime(2, "b", neuroncore_counters=cores(_2=40)),
    )
    values = Published(keys, [document] * 2).values("NeuronCoreUtilization")
    assert set(values) == published


@pytest.mark.usefixtures("second_device")
def test_heartbeat_of_a_task_is_in_its_set() -> None:
    keys = {
        "cloudwatch.scope": "task",
        "cloudwatch.preset": "none",
        "cloudwatch.include": ["ExporterHeartbeat"],
        "cloudwatch.dimension_sets": [["TaskId"]],
        "cloudwatch.extra_dimensions": {"TaskId": "7"},
    }
    published = Published(keys, [report(runtime(2, "b"))] * 2)
    assert published.names() == {"ExporterHeartbeat"}
    assert all(
        each["Dimensions"] == [{"Name": "TaskId", "Value": "7"}] for each in published.datums
    )


@pytest.mark.usefixtures("second_device")
def test_task_scope_without_prometheus_has_one_branch() -> None:
    keys = {
        "prometheus.enabled": False,
        "cloudwatch.scope": "task",
        "cloudwatch.dimension_sets": [["TaskId"]],
        "cloudwatch.extra_dimensions": {"TaskId": "7"},
    }
    document = report(runtime(1, "a", neuroncore_counters=cores(_0=90, _3=10)))
    published = Published(keys, [document] * 2)
    assert sorted(set(published.values("NeuronCoreUtilization"))) == [0, 10]
    assert published.parts.processor._others == []
