"""Metrics published to moto, read back with boto3 and the aws command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest

from neuron_exporter.simulator.machine import Machine
from neuron_exporter.simulator.options import parse
from tests.support import reports as build
from tests.support.endpoint import Endpoint, accept, reject
from tests.support.exporter import RunningExporter, clean_environment, running_exporter, simulated
from tests.support.latencies import DISTRIBUTIONS, errors, simulate_report
from tests.support.validating_endpoint import validating_endpoint
from tests.support.waiting import wait_for

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
REPORTS = 12


def cloudwatch(url: str, **settings: Any) -> dict[str, Any]:
    """Return a configuration that enables CloudWatch with windows of one second."""
    return {"enabled": True, "endpoint_url": url, "flush_interval": "1s", **settings}


class Published:
    """A short run of one runtime on an inf1.xlarge, published to moto under its own namespace."""

    def __init__(self, url: str, namespace: str, reports: list[dict[str, Any]]) -> None:
        self.url = url
        self.namespace = namespace
        self.reports = reports
        info = reports[0]["instance_info"]
        self.dimensions = {
            name: info[key]
            for name, key in (("InstanceId", "instance_id"), ("InstanceType", "instance_type"))
        }

    def utilization(self) -> list[float]:
        """Percent of every core in every report, which NeuronCoreUtilization is made of."""
        cores = range(4)
        return [
            min(
                100,
                sum(
                    runtime["report"]["neuroncore_counters"]["neuroncores_in_use"][str(core)][
                        "neuroncore_utilization"
                    ]
                    for runtime in report["neuron_runtime_data"]
                ),
            )
            for report in self.reports
            for core in cores
        ]

    def count_executions(self, status: str) -> float:
        """Return how many executions ended with this status."""
        return sum(
            runtime["report"]["execution_stats"]["execution_summary"][status]
            for report in self.reports
            for runtime in report["neuron_runtime_data"]
        )


@pytest.fixture(scope="module")
def published(moto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Publish twelve reports through stdin, flushed at the end; moto rejects none."""
    folder = tmp_path_factory.mktemp("published")
    options = ["--instance-type", "inf1.xlarge", "--scenario", "mixed", "--runtimes", "3"]
    config = folder / "monitor.json"
    groups = ("neuroncore_counters", "memory_used", "execution_stats", "neuron_runtime_vcpu_usage")
    config.write_text(
        json.dumps(
            {
                "period": "5s",
                "neuron_runtimes": [{"metrics": [{"type": group} for group in groups]}],
                "system_metrics": [
                    {"type": t} for t in ("vcpu_usage", "memory_info", "neuron_hw_counters")
                ],
            }
        )
    )
    machine = Machine(parse([*options, "-c", str(config)]))
    reports = [machine.report(number) for number in range(REPORTS)]
    for report in reports:  # moto keeps one object per execution: scale down by 100
        for runtime in report["neuron_runtime_data"]:
            summary = runtime["report"]["execution_stats"]["execution_summary"]
            summary["completed"] //= 100
    with validating_endpoint(moto) as front:
        settings = {
            "source": {"kind": "stdin"},
            "cloudwatch": cloudwatch(front.url, namespace="Published"),
        }
        with running_exporter(
            folder, settings, environment=CREDENTIALS, stdin=subprocess.PIPE
        ) as exporter:
            assert exporter.process.stdin is not None
            for report in reports:
                exporter.process.stdin.write(json.dumps(report).encode() + b"\n")
            exporter.process.stdin.close()
            exporter.process.stdin = None
            assert exporter.wait() == 0
        assert (front.rejected, front.inconsistent) == ([], [])
        yield Published(front.url, "Published", reports)


def statistics(published: Published, name: str) -> dict[str, float]:
    """Return the statistics of a metric over the whole run, as boto3 reads them."""
    client = boto3.client(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=published.url,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 (nobody's)
    )
    now = datetime.now(UTC)
    found = client.get_metric_statistics(
        Namespace=published.namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in published.dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=86400,
        Statistics=["Average", "Maximum", "Minimum", "Sum", "SampleCount"],
    )
    client.close()
    (point,) = found["Datapoints"]
    return dict(point)


def test_average_and_maximum(published: Published) -> None:
    """One metric holds the average and the maximum over all cores and reports."""
    readings = published.utilization()
    point = statistics(published, "NeuronCoreUtilization")
    assert point["Unit"] == "Percent"
    assert point["SampleCount"] == len(readings) == 4 * REPORTS
    assert point["Average"] == pytest.approx(sum(readings) / len(readings))
    assert point["Maximum"] == pytest.approx(max(readings))
    assert point["Minimum"] == pytest.approx(min(readings))


def test_percentiles(published: Published) -> None:
    """moto computes no percentiles, but keeps every value it receives: their p99 is the p99 of the
    readings."""
    with urllib.request.urlopen(f"{published.url}/moto-api/data.json", timeout=60) as answer:  # noqa: S310
        stored = json.load(answer)
    kept = sorted(
        float(datum["value"])
        for datum in stored["cloudwatch"]["MetricDatum"]
        if datum["namespace"] == published.namespace and datum["name"] == "NeuronCoreUtilization"
    )
    readings = sorted(published.utilization())
    assert kept == pytest.approx(readings)
    rank = math.ceil(0.99 * len(readings)) - 1
    assert kept[rank] == pytest.approx(readings[rank])


@pytest.mark.parametrize(
    ("metric", "statuses"),
    [
        ("ExecutionsCompleted", ["completed"]),
        ("ExecutionErrors", ["completed_with_num_err", "timed_out", "completed_with_err"]),
    ],
)
def test_execution_sum(published: Published, metric: str, statuses: list[str]) -> None:
    """The sum equals the number of executions exactly."""
    wanted = sum(published.count_executions(status) for status in statuses)
    assert statistics(published, metric)["Sum"] == wanted


def test_latency_samples(published: Published) -> None:
    """ExecutionLatency has one sample per execution, between the extremes of the readings."""
    extremes = [
        percentiles[name]
        for report in published.reports
        for runtime in report["neuron_runtime_data"]
        if (percentiles := runtime["report"]["execution_stats"]["latency_stats"]["total_latency"])
        and runtime["report"]["execution_stats"]["execution_summary"]["completed"] > 1
        for name in ("p0", "p100")
    ]
    point = statistics(published, "ExecutionLatency")
    assert point["SampleCount"] == published.count_executions("completed")
    assert point["Minimum"] == pytest.approx(min(extremes))
    assert point["Maximum"] == pytest.approx(max(extremes))


def test_latency_percentiles(tmp_path: Path, endpoint: Endpoint) -> None:
    """What CloudWatch computes from the values is close to the latencies of the executions."""
    random = Random(1)
    draw = DISTRIBUTIONS["lognormal, sigma 0.3"]
    simulations = [simulate_report(draw, random) for _ in range(12)]
    settings = {
        "source": {"kind": "stdin"},
        "cloudwatch": cloudwatch(endpoint.url, flush_interval="1h"),
    }
    with running_exporter(
        tmp_path,
        settings,
        environment=CREDENTIALS,
        stdin=subprocess.PIPE,
    ) as exporter:
        assert exporter.process.stdin is not None
        for latencies, percentiles in simulations:
            stats = build.executions(len(latencies), percentiles)
            line = build.report(build.runtime(execution_stats=stats))
            exporter.process.stdin.write(json.dumps(line).encode() + b"\n")
        exporter.process.stdin.close()
        exporter.process.stdin = None
        assert exporter.wait() == 0
    values = endpoint.values("ExecutionLatency")
    exact = [latency for latencies, _ in simulations for latency in latencies]
    assert (min(values), max(values)) == (min(exact), max(exact))
    assert values.total() == len(exact)
    assert all(abs(error) < 0.03 for error in errors(values, exact).values())


def test_aws_command_line(published: Published) -> None:
    """The aws command line shows the same metrics, names and values."""

    def aws(*arguments: str) -> Any:
        """Run the aws command line against moto and return its JSON."""
        program = Path(sys.executable).with_name("aws")
        done = subprocess.run(
            [program, "--endpoint-url", published.url, "cloudwatch", *arguments],
            capture_output=True,
            check=True,
            env=clean_environment(**CREDENTIALS),
        )
        return json.loads(done.stdout)

    listed = aws("list-metrics", "--namespace", published.namespace)["Metrics"]
    names = {metric["MetricName"] for metric in listed}
    assert len(names - {"ExporterHeartbeat"}) == 9  # present if a window ended by then
    assert all(
        {each["Name"]: each["Value"] for each in metric["Dimensions"]} == published.dimensions
        for metric in listed
    )
    now = datetime.now(UTC)
    points = aws(
        "get-metric-statistics", "--namespace", published.namespace,
        "--metric-name", "NeuronCoreUtilization",
        "--start-time", (now - timedelta(hours=1)).isoformat(),
        "--end-time", (now + timedelta(hours=1)).isoformat(),
        "--period", "86400", "--statistics", "Average", "Maximum",
        "--dimensions", *(f"Name={k},Value={v}" for k, v in published.dimensions.items()),
    )["Datapoints"]  # fmt: skip
    readings = published.utilization()
    assert points[0]["Average"] == pytest.approx(sum(readings) / len(readings))
    assert points[0]["Maximum"] == pytest.approx(max(readings))


def test_ten_standard_metrics(tmp_path: Path, endpoint: Endpoint) -> None:
    """A running machine publishes its ten metrics with one request per window."""
    config = {"source": simulated(), "cloudwatch": cloudwatch(endpoint.url)}
    with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
        wait_for(lambda: len({d["MetricName"] for d in endpoint.datums()}) == 10)
        wait_for(lambda: len(endpoint.requests) >= 3)
        assert exporter.value("neuron_exporter_sink_up", sink="cloudwatch") == 1
        exporter.wait_for_value("neuron_exporter_cloudwatch_metrics", 10)
        assert exporter.stop() == 0
    stamps = [d["Timestamp"] for d in endpoint.datums("ExporterHeartbeat")]
    assert len(stamps) == len(set(stamps))
    assert all(stamp == int(stamp) for stamp in stamps)


def test_without_credentials(tmp_path: Path, endpoint: Endpoint) -> None:
    """The error is logged once, and Prometheus is unaffected."""
    config = {"source": simulated(), "cloudwatch": cloudwatch(endpoint.url)}
    with running_exporter(tmp_path, config) as exporter:
        failing = exporter.wait_for_event("delivery_failing")
        assert failing["code"] == "NoCredentials"
        wait_for(lambda: retried(exporter) >= 2)
        assert exporter.value("neuron_exporter_sink_up", sink="cloudwatch") == 0
        assert exporter.value("neuron_exporter_up") == 1
        assert exporter.value("neuroncores_in_use") is not None
        assert exporter.stop() == 0
        assert len(exporter.events("delivery_failing")) == 1
    assert endpoint.requests == []


def retried(exporter: RunningExporter) -> float:
    """Return how many requests have been retried so far."""
    labels = {"sink": "cloudwatch", "outcome": "retried"}
    return exporter.value("neuron_exporter_sink_requests_total", **labels) or 0


def test_outage_is_caught_up(tmp_path: Path, endpoint: Endpoint) -> None:
    """Executions counted while the endpoint failed arrive once after it recovers."""
    endpoint.answer = reject(503, "ServiceUnavailable")
    config = {"source": simulated(), "cloudwatch": cloudwatch(endpoint.url)}
    with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
        wait_for(lambda: retried(exporter) >= 3)
        rejected = len(endpoint.requests)
        endpoint.answer = accept
        exporter.wait_for_event("delivery_recovered")
        queued = "neuron_exporter_sink_queue_requests"
        wait_for(lambda: exporter.value(queued, sink="cloudwatch") == 0)
        assert exporter.stop() == 0
    refused, delivered = (
        [
            datum["Timestamp"]
            for request in requests
            for datum in request["MetricData"]
            if datum["MetricName"] == "ExecutionsCompleted"
        ]
        for requests in (endpoint.requests[:rejected], endpoint.requests[rejected:])
    )
    assert set() < set(refused) <= set(delivered)
    assert len(delivered) == len(set(delivered))


def test_stop_flushes_the_window(tmp_path: Path, endpoint: Endpoint) -> None:
    """A stop in the middle of a long window loses nothing."""
    settings = cloudwatch(endpoint.url, flush_interval="1h")
    config = {"source": simulated(), "cloudwatch": settings}
    with running_exporter(tmp_path, config, environment=CREDENTIALS) as exporter:
        wait_for(lambda: (exporter.value("neuron_exporter_reports_total") or 0) >= 3)
        assert exporter.stop() == 0
    shown = endpoint.total("ExecutionsCompleted")
    assert shown > 0
    assert endpoint.datums("ExporterHeartbeat") == []
