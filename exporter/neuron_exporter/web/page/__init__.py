"""The live page: its files and the hardware part of its document."""

from neuron_exporter.web.page.document import build_reading
from neuron_exporter.web.page.files import page_routes

__all__ = ["build_reading", "page_routes"]
