"""Reads neuron-monitor's reports: typed, and with whatever fits when a line does not."""

from neuron_exporter.report.decode import Decoded, ReportError, decode, unknown_fields
from neuron_exporter.report.mask import Masker
from neuron_exporter.report.salvage import Fault
from neuron_exporter.report.schema import Report

__all__ = ["Decoded", "Fault", "Masker", "Report", "ReportError", "decode", "unknown_fields"]
