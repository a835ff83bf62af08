"""Catalogue of all metrics, one row each. To add a metric, add a row.

Names, types and labels are those of AWS's neuron-monitor-prometheus.py wherever it has the metric.
Where its series differ from ours, `prometheus.layout: aws` has a row of its own (`ONLY_AWS`).
"""

from neuron_exporter.metrics.catalogue.cores import CORES
from neuron_exporter.metrics.catalogue.devices import DEVICES
from neuron_exporter.metrics.catalogue.machine import HOST, INFO, TOTALS
from neuron_exporter.metrics.catalogue.runtimes import RUNTIMES
from neuron_exporter.model import MetricSpec

CATALOGUE: tuple[MetricSpec, ...] = (*CORES, *RUNTIMES, *TOTALS, *DEVICES, *HOST, *INFO)
