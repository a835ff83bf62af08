"""The live page: its files, and the readings that it shows."""

from neuron_exporter.web.page.files import files
from neuron_exporter.web.page.reading import reading

__all__ = ["files", "reading"]
