"""Units of the catalogue's CloudWatch metrics."""

from __future__ import annotations

import pytest
from botocore.session import Session

from neuron_exporter.metrics.catalogue import CATALOGUE
from neuron_exporter.model import CloudWatchMetric

CLOUDWATCH_METRICS = [metric for row in CATALOGUE for metric in row.cloudwatch]


@pytest.mark.parametrize("metric", CLOUDWATCH_METRICS, ids=lambda metric: metric.name)
def test_cloudwatch_units(metric: CloudWatchMetric) -> None:
    units = Session().get_service_model("cloudwatch").shape_for("StandardUnit").enum
    assert metric.unit in units
