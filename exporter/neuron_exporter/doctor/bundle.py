"""Write a support bundle: findings and state in one archive to share, without secrets."""

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
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, as_json
from neuron_exporter.report import Masker
from neuron_exporter.text import mask_credentials

_FOLDER = "neuron-exporter-doctor"
_MASK = "***"
_WORD = r"(?:token|secret|passw|credential|(?:api|access)[_-]?key)"
_SECRET_NAME = re.compile(f"(?i){_WORD}")
_SECRET_VALUE = re.compile(rf"(?i)({_WORD}[^\s=:]*[\s=:]+)\S+")


class Bundle:
    """A new archive that only its owner can read; created before the checks run.

    Raises:
        ConfigError: the file exists or cannot be created.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            self._file = os.fdopen(os.open(path, flags, 0o600), "wb")
        except FileExistsError as error:
            problem = f"--bundle: {path}: exists already and is not overwritten"
            raise ConfigError([problem]) from error
        except OSError as error:
            raise ConfigError([f"--bundle: {path}: {error.strerror or error}"]) from error

    def discard(self) -> None:
        """Close and delete the file."""
        self._file.close()
        with suppress(OSError):
            os.unlink(self._path)

    def write(self, context: Context, findings: Iterable[Finding]) -> Iterator[str]:
        """Write the archive, and yield lines that list its files."""
        yield f"{self._path} contains:"
        with (
            self._file as file,
            gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as archive,
        ):
            for name, about, content in _contents(context, findings):
                if content:
                    entry = tarfile.TarInfo(f"{_FOLDER}/{name}")
                    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
                    archive.addfile(entry, io.BytesIO(content))
                    yield f"  {name}: {about}"


def _contents(context: Context, findings: Iterable[Finding]) -> Iterator[tuple[str, str, bytes]]:
    yield "findings.json", "the findings of the doctor", as_json(findings).encode()
    yield (
        "configuration.yaml",
        "the active configuration; values that look like secrets are masked",
        yaml.safe_dump(masked(context.config.model_dump()), sort_keys=False).encode(),
    )
    line = context.sample.line if context.sample is not None else b""
    yield (
        "report.json",
        "a report; names and ids are masked as by `record --mask`",
        Masker().mask_line(line) + b"\n" if line else context.masked_report,
    )
    yield (
        "metrics.txt",
        "the running exporter's metrics: they name the machine, its pods and tags",
        _hide_users(context.metrics),
    )
    yield (
        "snapshot.json",
        "the page data of the running exporter: it names the machine, its pods and tags",
        _hide_users(context.snapshot),
    )
    yield "threads.txt", "a stack trace of every thread of the running exporter", context.threads
    yield "versions.txt", "versions of Python, libraries and kernel", _versions().encode()


def _hide_users(text: bytes) -> bytes:
    return mask_credentials(text.decode("utf-8", "replace")).encode()


def masked(value: Any, key: str = "") -> Any:
    """Mask everything in a value that looks like a secret.

    These are user names and passwords in URLs, values of keys that name a secret, and words after
    such a name in a command.
    """
    if isinstance(value, dict):
        return {name: masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        previous = [key, *value]
        return [
            masked(item, word if isinstance(word, str) and word.startswith("-") else key)
            for word, item in zip(previous, value, strict=False)
        ]
    if not isinstance(value, str) or not value:
        return value
    if _SECRET_NAME.search(key) and "=" not in key:
        return _MASK
    return _SECRET_VALUE.sub(rf"\g<1>{_MASK}", mask_credentials(value))


def _versions() -> str:
    libraries = sorted({f"{each.name} {each.version}" for each in distributions()}, key=str.lower)
    kernel = f"kernel {platform.release()} {platform.version()} {platform.machine()}"
    lines = [f"neuron-exporter {__version__}", f"python {sys.version}", kernel, *libraries]
    return "\n".join(lines) + "\n"
