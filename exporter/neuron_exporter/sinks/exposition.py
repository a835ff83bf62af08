"""Exposition formats of Prometheus. They differ in the lines before a family's samples, and in the
end marker of OpenMetrics. Samples are the same in all formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from prometheus_client import Metric

_ESCAPED_IN_LABELS = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_ESCAPED_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})
_SUFFIXES = {"counter": "_total", "info": "_info"}
_BASE_UNITS = ("seconds", "bytes", "ratio")


@dataclass(frozen=True, slots=True)
class Format:
    """An exposition format. `end` is its end marker."""

    media_type: str
    version: str
    end: bytes = b""

    @property
    def content_type(self) -> str:
        """Value of the Content-Type header."""
        return f"{self.media_type}; version={self.version}; charset=utf-8"

    @property
    def is_open_metrics(self) -> bool:
        """Whether it is a version of OpenMetrics; all versions are written in the same way."""
        return self is not TEXT


TEXT = Format("text/plain", "0.0.4")
OPEN_METRICS = Format("application/openmetrics-text", "1.0.0", b"# EOF\n")
OPEN_METRICS_DRAFT = Format("application/openmetrics-text", "0.0.1", b"# EOF\n")

FORMATS = (TEXT, OPEN_METRICS, OPEN_METRICS_DRAFT)
_WILDCARDS = {"*/*": TEXT, "text/*": TEXT, "application/*": OPEN_METRICS}


def negotiate(accept: str) -> Format:
    """Return the preferred format of an Accept header, the first of equals. If no known format is
    acceptable, it is TEXT, since a response is more useful than status 406."""
    best, best_quality = TEXT, 0.0
    for part in accept.split(","):
        media_type, *words = (word.strip() for word in part.lower().split(";"))
        parameters = dict(_parameter(word) for word in words)
        format = _find(media_type, parameters)
        quality = _quality(parameters.get("q", "1"))
        if format is not None and quality > best_quality:
            best, best_quality = format, quality
    return best


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip().strip('"')


def _find(media_type: str, parameters: Mapping[str, str]) -> Format | None:
    if media_type in _WILDCARDS:
        return _WILDCARDS[media_type]
    version = parameters.get("version")
    fitting = (each for each in FORMATS if each.media_type == media_type)
    return next((each for each in fitting if version in (None, each.version)), None)


def _quality(text: str) -> float:
    """Parse a q-value; an invalid one counts as 0."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


@lru_cache(maxsize=1024)
def head(format: Format, name: str, documentation: str, kind: str, unit: str = "") -> str:
    """Return the lines before a family's samples, each preceded by a line end.

    `name` is the name of the samples. In OpenMetrics, the name of the family has no `_total` or
    `_info`, and there is a UNIT line only if that name ends with the unit.
    """
    if not format.is_open_metrics:
        kind = "gauge" if kind == "info" else kind
        text = documentation.translate(_ESCAPED_IN_HELP)
        return f"\n# HELP {name} {text}\n# TYPE {name} {kind}"
    name = name.removesuffix(_SUFFIXES.get(kind, ""))
    text = documentation.translate(_ESCAPED_IN_LABELS)
    lines = f"\n# HELP {name} {text}\n# TYPE {name} {kind}"
    return f"{lines}\n# UNIT {name} {unit}" if unit and name.endswith(f"_{unit}") else lines


def write(
    families: Iterable[Metric], format: Format = TEXT, labels: tuple[tuple[str, str], ...] = ()
) -> bytes:
    """Format families of prometheus_client as its own writer does, without its unused features.
    Every sample gets `labels` after its own."""
    parts = []
    for family in families:
        name = family.name + _SUFFIXES.get(family.type, "")
        unit = next((each for each in _BASE_UNITS if family.name.endswith(f"_{each}")), "")
        parts.append(head(format, name, family.documentation, family.type, unit))
        for sample in family.samples:
            text = _labels((*sample.labels.items(), *labels)) if sample.labels or labels else ""
            parts.append(f"\n{sample.name}{text} {sample.value!r}")
    return ("".join(parts)[1:] + "\n").encode()


@lru_cache(maxsize=1024)  # labels repeat at every scrape
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in labels) + "}"


def escape(value: str) -> str:
    """Escape a label value for use between quotes."""
    return value.translate(_ESCAPED_IN_LABELS)
