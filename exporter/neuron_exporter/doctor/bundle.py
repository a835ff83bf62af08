"""Write a support bundle: findings and state in one archive to share, without secrets."""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import re
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import reduce
from importlib.metadata import distributions
from operator import getitem
from typing import Any, Literal, get_args, get_origin

import yaml

from neuron_exporter import __version__
from neuron_exporter.config import Config
from neuron_exporter.config.section import keys
from neuron_exporter.doctor.acceptance.sysfs import READ_NAMES, read_tree
from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.driver_files import FILE_TIMEOUT, root_of
from neuron_exporter.doctor.finding import Finding, as_json
from neuron_exporter.doctor.new_file import create_private_file
from neuron_exporter.facts.driver_files import (
    COMPONENTS,
    DEVICE_FILES,
    HARDWARE_ERRORS,
    POWER_FORM,
    SERIAL_NUMBER,
    UNREACHABLE,
)
from neuron_exporter.facts.partitions import REGION_NAME
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.report import Masker
from neuron_exporter.report.mask import INSTANCE_TYPE
from neuron_exporter.sinks.cloudwatch.dimensions import MACHINE_DIMENSIONS, OWNER_DIMENSIONS
from neuron_exporter.text import MASK, mask_secrets

_FOLDER = "neuron-exporter-doctor"

_PROGRAMS = (
    "/opt/aws/neuron/bin/neuron-monitor|neuron-monitor|neuron-exporter|simulate|python3?|sh|bash|env"
    "|neuron_exporter(?:[.]simulator)?|docker|kubectl|nsenter|exec|sudo"
)
_DIMENSIONS = "|".join({**MACHINE_DIMENSIONS, **OWNER_DIMENSIONS})
_NOTHING = re.compile("")
_METRICS = re.compile(r"[A-Za-z_*?]{1,100}")
_KEPT_TEXTS = {
    "source.command": re.compile(rf"-[A-Za-z]|--[a-z-]{{1,40}}|[0-9]{{1,4}}|{_PROGRAMS}"),
    "prometheus.listen": re.compile(r"(?:\[[0-9a-f:]*\]|[0-9.]*|localhost):[0-9]{1,5}"),
    "prometheus.include": _METRICS,
    "prometheus.exclude": _METRICS,
    "cloudwatch.include": _METRICS,
    "cloudwatch.exclude": _METRICS,
    "cloudwatch.budget.keep": _METRICS,
    "cloudwatch.dimension_sets": re.compile(_DIMENSIONS),
    "cloudwatch.region": REGION_NAME,
    "otlp.include": _METRICS,
    "otlp.exclude": _METRICS,
    "otlp.budget.keep": _METRICS,
    "identity.region": REGION_NAME,
    "identity.instance_type": INSTANCE_TYPE,
}
"""Form of the texts that are kept, by key, beside defaults and the members of closed lists."""

_COMPONENT = f"(?:{'|'.join(COMPONENTS)})"
_KEPT_VALUES = re.compile(
    rf"[0-9, ]{{1,40}}|{POWER_FORM.pattern}|{UNREACHABLE}|{_COMPONENT}(?:,{_COMPONENT})*"
)
"""Form of the driver's values that are kept."""


class Bundle:
    """A new archive that only its owner can read; created before the checks run.

    Raises:
        ConfigError: the file exists or cannot be created.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = create_private_file("--bundle", path)

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
        "the active configuration, in which unknown texts are masked",
        yaml.safe_dump(masked_configuration(context.config), sort_keys=False).encode(),
    )
    line = (context.sample.line if context.sample is not None else b"") or context.masked_report
    yield (
        "report.json",
        "a report, masked as by `record --mask`",
        _mask_report(line),
    )
    yield (
        "driver_files.json",
        "paths and values of the driver's files below /sys, in which serial numbers are masked",
        _driver_files(context.config),
    )
    yield (
        "metrics.txt",
        "the running exporter's metrics: they name the machine, its pods and tags",
        _mask_text(context.metrics),
    )
    yield (
        "snapshot.json",
        "the page data of the running exporter: it names the machine, its pods and tags",
        _mask_text(context.snapshot),
    )
    yield "threads.txt", "a stack trace of every thread of the running exporter", context.threads
    yield "versions.txt", "versions of Python, libraries and kernel", _versions().encode()


def masked_configuration(config: Config) -> dict[str, Any]:
    """Return a configuration as a document in which all text is masked, except for defaults,
    members of closed lists, and texts of a harmless form."""
    document = config.model_dump()
    for key, field in keys(Config):
        *sections, name = key.split(".")
        section = reduce(getitem, sections, document)
        known = {*_texts(field.get_default()), *_members(field.annotation)}
        section[name] = _masked(section[name], known, _KEPT_TEXTS.get(key, _NOTHING))
    return document


def _masked(value: Any, known: set[Any], form: re.Pattern[str]) -> Any:
    if isinstance(value, dict):
        return {name: _masked(item, known, form) for name, item in value.items()}
    if isinstance(value, list):
        return [_masked(item, known, form) for item in value]
    if isinstance(value, str):
        return value if value in known or form.fullmatch(value) else MASK
    return value if value is None or isinstance(value, bool | int | float) else MASK


def _texts(default: Any) -> Iterator[str]:
    if isinstance(default, str):
        yield default
    elif isinstance(default, list):
        for each in default:
            yield from _texts(each)


def _members(annotation: Any) -> Iterator[Any]:
    """Yield the members of the closed lists in a type."""
    for each in get_args(annotation):
        if get_origin(annotation) is Literal:
            yield each
        else:
            yield from _members(each)


def _mask_text(text: bytes) -> bytes:
    return mask_secrets(text.decode("utf-8", "replace")).encode()


def _mask_report(line: bytes) -> bytes:
    try:
        return Masker().mask_line(line) + b"\n" if line else b""
    except ValueError:  # of another program, or deeper than Python reads
        return b""


def _driver_files(config: Config) -> bytes:
    """Return paths (with `neuron_core*` for each core), values and unreadable files as JSON."""
    root = root_of(config) if is_local_source(config) else None
    if root is None:
        return b""
    names = (*READ_NAMES, *DEVICE_FILES, *HARDWARE_ERRORS, "total")
    tree = read_tree(root, FILE_TIMEOUT, names)
    masker, values = Masker(), {}
    for (device, path), value in tree.values.items():
        if path.endswith(SERIAL_NUMBER) and value:
            value = masker.mask_text(SERIAL_NUMBER, value)
        elif value and not _KEPT_VALUES.fullmatch(value):
            value = MASK
        values[f"neuron{device}/{path}"] = value
    document = {"paths": sorted(tree.paths), "values": values, "unreadable": tree.unreadable}
    return f"{json.dumps(document, indent=1)}\n".encode() if any(document.values()) else b""


def _versions() -> str:
    libraries = sorted({f"{each.name} {each.version}" for each in distributions()}, key=str.lower)
    kernel = f"kernel {platform.release()} {platform.version()} {platform.machine()}"
    lines = [f"neuron-exporter {__version__}", f"python {sys.version}", kernel, *libraries]
    return "\n".join(lines) + "\n"
