"""Reads neuron-monitor's reports: typed, and with whatever fits when a line does not."""

from exporter.report.decode import Decoded, ReportError, decode, unknown_fields
from exporter.report.mask import Masker
from exporter.report.salvage import Fault
from exporter.report.types import Report

__all__ = ["Decoded", "Fault", "Masker", "Report", "ReportError", "decode", "unknown_fields"]
