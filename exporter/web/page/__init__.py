"""The live page: its files, and the readings that it shows."""

from exporter.web.page.files import files
from exporter.web.page.reading import reading

__all__ = ["files", "reading"]
