"""Every metric there is: one row for one metric. To add a metric, add a row.

Names, types and labels are those of AWS's neuron-monitor-prometheus.py wherever it has the metric.
Where its series differ from ours, a row of its own has them (`ONLY_AWS`).
"""

from neuron_exporter.metrics.catalogue.cores import CORES
from neuron_exporter.metrics.catalogue.devices import DEVICES
from neuron_exporter.metrics.catalogue.machine import ABOUT, HOST, TOTALS
from neuron_exporter.metrics.catalogue.runtimes import RUNTIMES
from neuron_exporter.model import MetricSpec

CATALOGUE: tuple[MetricSpec, ...] = (*CORES, *RUNTIMES, *TOTALS, *DEVICES, *HOST, *ABOUT)
