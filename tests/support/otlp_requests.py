"""Small requests of OTLP."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, NumberDataPoint

from neuron_exporter.sinks.otlp.request import ExportRequest

_CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def attributes(values: Mapping[str, str]) -> list[KeyValue]:
    """Return attributes in OTLP's form."""
    return [KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in values.items()]


def point(
    time: float, value: float | None, start: float = 0.0, labels: Mapping[str, str] | None = None
) -> NumberDataPoint:
    """Return a point. Times are in Unix seconds. Without a value, it has the flag of none."""
    values: dict[str, Any] = {"flags": 1} if value is None else {"as_double": value}
    return NumberDataPoint(
        attributes=attributes(labels or {"neuroncore": "0"}),
        time_unix_nano=int(time * 1e9),
        start_time_unix_nano=int(start * 1e9),
        **values,
    )


def message(
    *points: NumberDataPoint, name: str = "neuroncore_utilization_ratio", is_counter: bool = False
) -> ExportMetricsServiceRequest:
    """Return a request with points of one metric."""
    request = ExportMetricsServiceRequest()
    of_resource = request.resource_metrics.add()
    of_resource.resource.attributes.extend(attributes({"service.name": "neuron-exporter"}))
    metric = of_resource.scope_metrics.add().metrics.add(name=name)
    if is_counter:
        metric.sum.aggregation_temporality = _CUMULATIVE
        metric.sum.is_monotonic = True
        metric.sum.data_points.extend(points)
    else:
        metric.gauge.data_points.extend(points)
    return request


def request_of(content: ExportMetricsServiceRequest | None = None) -> ExportRequest:
    """Return a request with this content, or with one point of now."""
    now = time.time()
    content = content or message(point(now, 0.5))
    return ExportRequest("", "us-east-1", now, content.SerializeToString())
