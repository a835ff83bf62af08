"""The live page: its files, and the readings that it shows."""

from neuron_exporter.web.page.document import reading
from neuron_exporter.web.page.files import files

__all__ = ["files", "reading"]
