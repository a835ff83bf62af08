"""The formats that Prometheus reads: which one a scraper wants, and how a family begins in it.

Samples are written alike in all of them. They differ in the lines before a family's samples, and
in that OpenMetrics has an end.
"""

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
    """A format by its media type."""

    media_type: str
    version: str
    end: bytes = b""

    @property
    def content_type(self) -> str:
        """The value of the Content-Type header."""
        return f"{self.media_type}; version={self.version}; charset=utf-8"

    @property
    def is_open_metrics(self) -> bool:
        """Whether it is one of the versions of OpenMetrics, which are written alike."""
        return self is not TEXT


TEXT = Format("text/plain", "0.0.4")
OPEN_METRICS = Format("application/openmetrics-text", "1.0.0", b"# EOF\n")
OPEN_METRICS_DRAFT = Format("application/openmetrics-text", "0.0.1", b"# EOF\n")

FORMATS = (TEXT, OPEN_METRICS, OPEN_METRICS_DRAFT)
_WILDCARDS = {"*/*": TEXT, "text/*": TEXT, "application/*": OPEN_METRICS}


def negotiate(accept: str) -> Format:
    """The format that an Accept header likes best; of equals the one that stands first.

    Text is for all who do not care, and for those who want nothing that there is: an exporter
    that answers in some format is of more use than one that answers 406.
    """
    best, liking = TEXT, 0.0
    for part in accept.split(","):
        media_type, *parameters = (word.strip() for word in part.lower().split(";"))
        named = dict(_parameter(each) for each in parameters)
        wanted = _find(media_type, named)
        quality = _quality(named.get("q", "1"))
        if wanted is not None and quality > liking:
            best, liking = wanted, quality
    return best


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip().strip('"')


def _find(media_type: str, parameters: Mapping[str, str]) -> Format | None:
    if media_type in _WILDCARDS:
        return _WILDCARDS[media_type]
    version = parameters.get("version")
    for each in FORMATS:
        if each.media_type == media_type and version in (None, each.version):
            return each
    return None


def _quality(text: str) -> float:
    """A q-value; what is none counts as a refusal."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


@lru_cache(maxsize=1024)
def head(format: Format, name: str, documentation: str, kind: str, unit: str = "") -> str:
    """The lines before a family's samples, each with a line's end before it.

    `name` is that of the samples. In OpenMetrics the family's own name has no `_total` or `_info`,
    and a unit has a line only where that name ends with it.
    """
    if not format.is_open_metrics:
        kind = "gauge" if kind == "info" else kind
        text = documentation.translate(_ESCAPED_IN_HELP)
        return f"\n# HELP {name} {text}\n# TYPE {name} {kind}"
    name = name.removesuffix(_SUFFIXES.get(kind, ""))
    text = documentation.translate(_ESCAPED_IN_LABELS)
    lines = f"\n# HELP {name} {text}\n# TYPE {name} {kind}"
    return f"{lines}\n# UNIT {name} {unit}" if unit and name.endswith(f"_{unit}") else lines


def write(families: Iterable[Metric], format: Format = TEXT) -> bytes:
    """Families of prometheus_client as text: its own writer, without what is not in use here."""
    parts = []
    for family in families:
        name = family.name + _SUFFIXES.get(family.type, "")
        unit = next((each for each in _BASE_UNITS if family.name.endswith(f"_{each}")), "")
        parts.append(head(format, name, family.documentation, family.type, unit))
        for sample in family.samples:
            where = _labels(tuple(sample.labels.items())) if sample.labels else ""
            parts.append(f"\n{sample.name}{where} {sample.value!r}")
    return ("".join(parts)[1:] + "\n").encode()


@lru_cache(maxsize=1024)  # the same ones at every scrape
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    return "{" + ",".join(f'{name}="{escape(value)}"' for name, value in labels) + "}"


def escape(value: str) -> str:
    """A label's value as it stands between quotes."""
    return value.translate(_ESCAPED_IN_LABELS)
