"""One exporter feeds Prometheus, CloudWatch and OTLP, and all three agree on what they share."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_exporter.facts.report_names import FAILED_STATUSES
from tests import captures
from tests.support import simulated
from tests.support.fleet import CREDENTIALS
from tests.support.otlp_front import OtlpFront, otlp_front
from tests.support.piped import PipedExporter, piped_exporter
from tests.support.sigv4 import Credentials
from tests.support.validating_endpoint import ValidatingEndpoint, validating_endpoint
from tests.support.waiting import wait_for

REPORTS = 6

POOLED = {
    "NeuronCoreUtilization": ("neuroncore_utilization_ratio", 100),
    "NeuronDeviceMemoryUsed": ("neurondevice_memory_used_bytes", 1),
    "HostMemoryUsed": ("system_memory_used_bytes", 1),
}
"""CloudWatch metrics with a value of each series in each report: the name and the factor."""

SUMS = {"ExecutionsCompleted": ("completed",), "ExecutionErrors": FAILED_STATUSES}
"""CloudWatch metrics with the increase of `neuron_executions_total`: the statuses."""

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def cloudwatch() -> Iterator[ValidatingEndpoint]:
    """Start a PutMetricData server that is as strict as AWS."""
    with validating_endpoint(None) as started:
        yield started


@pytest.fixture
def front() -> Iterator[OtlpFront]:
    """Start an OTLP endpoint that is as strict as CloudWatch's."""
    with otlp_front(credentials=Credentials()) as started:
        yield started


def config(cloudwatch: ValidatingEndpoint, front: OtlpFront) -> dict[str, Any]:
    """Return a configuration with all sinks, with everything that they can send."""
    return {
        "identity": {"imds": False, "instance_id": "i-0123456789abcdef0", "region": "us-east-1"},
        "cloudwatch": {
            "enabled": True,
            "endpoint_url": cloudwatch.url,
            "region": "us-east-1",
            "preset": "full",
            "flush_interval": "1s",
            "dimension_sets": [["InstanceId"]],
            "budget": {"max_metrics": None},
        },
        "otlp": {"enabled": True, "endpoint": front.url, "auth": "sigv4", "interval": "1s"},
    }


def scraped(exporter: PipedExporter) -> Series:
    """Return the series of the hardware on /metrics."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in exporter.exporter.families().values()
        for sample in family.samples
        if not sample.name.startswith(("neuron_exporter_", "process_", "python_"))
    }


def received(front: OtlpFront, after: float) -> Series:
    """Wait for the first interval that ends after a time (Unix seconds), and the next; return the
    series of the hardware in the first."""

    def found() -> list[int]:
        ends = sorted({p.time for p in front.points if p.time / 1e9 > after})
        return ends if len(ends) > 1 else []

    end = wait_for(found)[0]
    return {
        (point.name, point.attributes): point.value
        for point in front.points
        if point.time == end
        and point.value is not None
        and not point.name.startswith(("neuron_exporter_", "process_", "python_"))
    }


def total(series: Series, statuses: tuple[str, ...]) -> float:
    """Return the machine's executions with these statuses."""
    return sum(
        value
        for (name, labels), value in series.items()
        if name == "neuron_executions_total" and dict(labels)["status_type"] in statuses
    )


def assert_sinks_agree(
    folder: Path, cloudwatch: ValidatingEndpoint, front: OtlpFront, lines: list[bytes]
) -> None:
    """Send these reports, and compare what arrives."""
    pooled: dict[str, Counter[float]] = {name: Counter() for name in POOLED}
    with piped_exporter(folder, config(cloudwatch, front), environment=CREDENTIALS) as exporter:
        for line in lines:
            exporter.send_line(line)
            series = scraped(exporter)
            assert received(front, after=time.time()) == series
            for name, (metric, factor) in POOLED.items():
                pooled[name].update(
                    round(value * factor, 6) for (own, _), value in series.items() if own == metric
                )
        exporter.end()
    assert (cloudwatch.rejected, cloudwatch.inconsistent, front.rejected) == ([], [], [])
    for name, wanted in pooled.items():
        found = Counter[float]()
        for value, count in cloudwatch.values(name).items():
            found[round(value, 6)] += int(count)
        assert found == wanted, name
    assert pooled["NeuronCoreUtilization"]
    for name, statuses in SUMS.items():
        assert cloudwatch.total(name) == total(series, tuple(statuses)), name


def test_simulated_machine(
    tmp_path: Path, cloudwatch: ValidatingEndpoint, front: OtlpFront
) -> None:
    reports = simulated.reports(
        REPORTS, "--instance-type", "inf2.24xlarge", "--scenario", "mixed", "--runtimes", "7"
    )
    lines = [json.dumps(report).encode() for report in reports]
    assert_sinks_agree(tmp_path, cloudwatch, front, lines)


def test_thirty_two_runtimes(
    tmp_path: Path,
    cloudwatch: ValidatingEndpoint,
    front: OtlpFront,
    thirty_two_runtimes: Path,
) -> None:
    """The recorded report of 445 kB."""
    lines = captures.lines(thirty_two_runtimes) * 3
    assert_sinks_agree(tmp_path, cloudwatch, front, lines)
