"""The masked recording of the reports."""

from __future__ import annotations

import gzip
import os
import tempfile
import time
from contextlib import suppress
from typing import BinaryIO, cast

from neuron_exporter.doctor.new_file import create_private_file
from neuron_exporter.report import Masker

_PREFIX = "neuron-exporter-acceptance-"


def default_path() -> str:
    """Return a new path in the directory for temporary files, which a container has as well."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    return os.path.join(tempfile.gettempdir(), f"{_PREFIX}{stamp}.ndjson.gz")


class Recording:
    """A new file with one masked report per line, as `record --mask` writes it.

    Attributes:
        path: The file, compressed if its name ends in `.gz`.
        reports: Number of reports in it.
        error: Why it is incomplete; empty if it is complete.

    Raises:
        ConfigError: the file exists or cannot be created.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.reports = 0
        self.error = ""
        self._masker = Masker()
        self._created = create_private_file("--output", path)
        self._file = self._created
        if path.endswith(".gz"):
            self._file = cast(BinaryIO, gzip.GzipFile(fileobj=self._created, mode="wb", mtime=0))

    def add(self, line: bytes) -> None:
        """Write a report. Once the file cannot be written, do nothing."""
        if self.error:
            return
        try:
            masked = self._masker.mask_line(line)
        except ValueError:
            return  # invalid JSON in a part that the exporter does not read
        try:
            self._file.write(masked + b"\n")
            self._file.flush()  # a kill must not lose reports
            self.reports += 1
        except OSError as error:
            self.error = error.strerror or str(error)

    def close(self) -> None:
        """Close the file, and delete it if it is empty."""
        for file in (self._file, self._created):
            try:
                file.close()
            except OSError as error:
                self.error = self.error or error.strerror or str(error)
        if not self.reports:
            with suppress(OSError):
                os.unlink(self.path)
