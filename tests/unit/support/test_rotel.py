"""The points in what rotel prints."""

from __future__ import annotations

from tests.support.otlp_points import Point
from tests.support.rotel import PrintOut

RESOURCE = (("service.name", "neuron-exporter"),)
TEXT = """\
2026-11-30T02:05:22.366937Z INFO Starting Rotel. grpc_endpoint="127.0.0.1:14317"
ResourceMetrics #0
Resource SchemaURL:
Resource attributes:
     -> service.name: Str(neuron-exporter)
ScopeMetrics #0
ScopeMetrics SchemaURL:
InstrumentationScope neuron-exporter 0.1.0
Metric #0
Descriptor:
     -> Name: process_cpu_seconds_total
     -> Description:
     -> Unit: s
     -> DataType: Sum
     -> IsMonotonic: true
     -> AggregationTemporality: AGGREGATION_TEMPORALITY_CUMULATIVE
NumberDataPoints #0
Data point attributes:
     -> a: Str((q"uo: te))
     -> b: Str(2)
StartTimestamp: 1
Timestamp: 2
Value: 5.25
Metric #1
Descriptor:
     -> Name: gauge
     -> Description:
     -> Unit:
     -> DataType: Gauge
NumberDataPoints #0
Data point attributes:
StartTimestamp: 0
Timestamp: 2
"""


def test_points() -> None:
    read = PrintOut()
    for line in TEXT.splitlines():
        read.add(line)
    scope = "neuron-exporter 0.1.0"
    labels = (("a", '(q"uo: te)'), ("b", "2"))
    first = Point("process_cpu_seconds_total", "sum", labels, 5.25, 1, 2, 0, RESOURCE, "s", scope)
    assert read.points == [first]
    read.finish()
    assert read.points == [first, Point("gauge", "gauge", (), None, 0, 2, 1, RESOURCE, "", scope)]
