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
from importlib.metadata import distributions
from typing import Any

import yaml

from exporter import __version__
from exporter.config import ConfigError
from exporter.doctor.case import Case
from exporter.doctor.finding import Finding
from exporter.doctor.told import as_json
from exporter.report import Masker

_FOLDER = "neuron-exporter-doctor"
_MASK = "***"
_SECRET = re.compile(r"(?i)(token|secret|passw|credential|api_?key|access_?key)")
_USER = re.compile(r"(?<=://)[^/@\s]+@")


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
        Masker().line(line) + b"\n" if line else b"",
    )
    yield (
        "metrics.txt",
        "the running exporter's metrics: they name the machine, its pods and tags",
        case.metrics,
    )
    yield "page.html", "the running exporter's page: it names the machine", case.page
    yield "versions.txt", "versions of Python, libraries and kernel", _versions().encode()


def masked(value: Any, key: str = "") -> Any:
    """A value without what looks like a secret: names and passwords in addresses, and what follows
    or belongs to a word that speaks of one."""
    if isinstance(value, dict):
        return {name: masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        words = [masked(item, key) for item in value]
        return [
            _MASK if at and _speaks_of_secret(value[at - 1]) else word
            for at, word in enumerate(words)
        ]
    if isinstance(value, str) and value:
        if _SECRET.search(key):
            return _MASK
        name, equals, _ = value.partition("=")
        if equals and _SECRET.search(name):
            return f"{name}={_MASK}"
        return _USER.sub(f"{_MASK}@", value)
    return value


def _speaks_of_secret(word: Any) -> bool:
    """Whether a word of a command is a flag whose value is a secret."""
    return isinstance(word, str) and word.startswith("-") and bool(_SECRET.search(word))


def _versions() -> str:
    libraries = sorted({f"{each.name} {each.version}" for each in distributions()}, key=str.lower)
    lines = [
        f"neuron-exporter {__version__}",
        f"python {sys.version}",
        f"kernel {platform.release()} {platform.version()} {platform.machine()}",
        *libraries,
    ]
    return "\n".join(lines) + "\n"
