"""The result of one identity lookup, and parsers for values that other systems report."""

from __future__ import annotations

import re
from typing import NamedTuple

from neuron_exporter.model import Machine
from neuron_exporter.text import sanitize_text

_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,32}")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
_REGION = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+")


class LookupResult(NamedTuple):
    """The fields that were found, and an error message if some could not be looked up."""

    machine: Machine = Machine()
    error: str = ""


def parse_text(value: object) -> str:
    """Return a text value without control characters, or "" if it is not a string."""
    return sanitize_text(value.strip()) if isinstance(value, str) else ""


def parse_instance_id(value: object) -> str:
    """Return an EC2 instance id, or "": no id is better than a wrong one."""
    return _matching(_INSTANCE_ID, value)


def parse_instance_type(value: object) -> str:
    """Return an EC2 instance type, or "" if the value is not one."""
    return _matching(_INSTANCE_TYPE, value)


def parse_region(value: object) -> str:
    """Return an AWS region, or "". It becomes part of a host name, hence the strict pattern."""
    return _matching(_REGION, value)


def _matching(pattern: re.Pattern[str], value: object) -> str:
    text = parse_text(value)
    return text if pattern.fullmatch(text) else ""
