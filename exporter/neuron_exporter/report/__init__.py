"""Decoding of neuron-monitor's reports into types, with salvage of damaged ones."""

from neuron_exporter.report.decode import Decoded, ReportError, decode
from neuron_exporter.report.mask import Masker
from neuron_exporter.report.salvage import InvalidField
from neuron_exporter.report.schema import Report
from neuron_exporter.report.unknown_fields import unknown_fields

__all__ = ["Decoded", "InvalidField", "Masker", "Report", "ReportError", "decode", "unknown_fields"]
