"""A support bundle: what was found out, in one file to send to others, without secrets."""

from __future__ import annotations

import gzip
import io
import os
import platform
import re
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import distributions
from typing import Any

import yaml

from neuron_exporter import __version__
from neuron_exporter.config import ConfigError
from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding
from neuron_exporter.doctor.render import as_json
from neuron_exporter.report import Masker
from neuron_exporter.text import hide_users

_FOLDER = "neuron-exporter-doctor"
_MASK = "***"
_WORD = r"(?:token|secret|passw|credential|(?:api|access)[_-]?key)"
_NAME = re.compile(f"(?i){_WORD}")
_VALUE = re.compile(rf"(?i)({_WORD}[^\s=:]*[\s=:]+)\S+")


class Bundle:
    """A new file, readable for this user alone, which is made before anything is found out.

    Raises:
        ConfigError: it is there already, or cannot be made.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        except FileExistsError as error:
            raise ConfigError(
                [f"--bundle: {path}: exists already, and is not overwritten"]
            ) from error
        except OSError as error:
            raise ConfigError([f"--bundle: {path}: {error.strerror or error}"]) from error

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        with suppress(OSError):
            os.unlink(self._path)

    def write(self, case: Case, findings: Iterable[Finding]) -> Iterator[str]:
        """Write it; gives lines that say what is in it."""
        yield f"{self._path} has:"
        with (
            self._file as file,
            gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for name, about, content in _contents(case, findings):
                if content:
                    entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
                    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
                    archive.addfile(entry, io.BytesIO(content))
                    yield f"  {name}: {about}"


def _contents(case: Case, findings: Iterable[Finding]) -> Iterator[tuple[str, str, bytes]]:
    yield "findings.json", "what the doctor said", as_json(findings).encode()
    yield (
        "configuration.yaml",
        "the configuration in use, what looks like a secret masked",
        yaml.safe_dump(masked(case.config.model_dump()), sort_keys=False).encode(),
    )
    line = case.sample.line if case.sample is not None else b""
    yield (
        "report.json",
        "a report, names and ids masked as `record --mask` does",
        Masker().line(line) + b"\n" if line else case.masked_report,
    )
    yield (
        "metrics.txt",
        "the running exporter's metrics: they name the machine, its pods and tags",
        _hidden(case.metrics),
    )
    yield (
        "snapshot.json",
        "what the running exporter's page shows: it names the machine, its pods and tags",
        _hidden(case.snapshot),
    )
    yield "threads.txt", "what each thread of the running exporter was doing", case.threads
    yield "versions.txt", "versions of Python, libraries and kernel", _versions().encode()


def _hidden(text: bytes) -> bytes:
    return hide_users(text.decode("utf-8", "replace")).encode()


def masked(value: Any, key: str = "") -> Any:
    """A value without what looks like a secret: names and passwords in addresses, what belongs to a
    key that speaks of one, and what follows such a word in a command."""
    if isinstance(value, dict):
        return {name: masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        before = [key, *value]
        return [
            masked(item, word if isinstance(word, str) and word.startswith("-") else key)
            for word, item in zip(before, value, strict=False)
        ]
    if not isinstance(value, str) or not value:
        return value
    if _NAME.search(key) and "=" not in key:
        return _MASK
    return _VALUE.sub(rf"\g<1>{_MASK}", hide_users(value))


def _versions() -> str:
    libraries = sorted({f"{each.name} {each.version}" for each in distributions()}, key=str.lower)
    lines = [
        f"neuron-exporter {__version__}",
        f"python {sys.version}",
        f"kernel {platform.release()} {platform.version()} {platform.machine()}",
        *libraries,
    ]
    return "\n".join(lines) + "\n"
