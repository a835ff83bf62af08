"""What one place tells of the machine, and the tests that its words have to pass."""

from __future__ import annotations

import re
from typing import NamedTuple

from neuron_exporter.model import Machine
from neuron_exporter.text import clean

_INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,32}")
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*\.[a-z0-9-]+")
_REGION = re.compile(r"[a-z]{2,}(?:-[a-z0-9]+)+")


class Answer(NamedTuple):
    """The fields that were told; and, where something could not be told, why."""

    machine: Machine = Machine()
    why: str = ""


def text(value: object) -> str:
    """A name as it is shown; empty if this is none."""
    return clean(value.strip()) if isinstance(value, str) else ""


def instance_id(value: object) -> str:
    """An instance's id; empty if this is none: a wrong one is worse than none."""
    return _if(_INSTANCE_ID, value)


def instance_type(value: object) -> str:
    """An instance type; empty if this is none."""
    return _if(_INSTANCE_TYPE, value)


def region(value: object) -> str:
    """A region, which becomes part of a host's name; empty if this is none."""
    return _if(_REGION, value)


def _if(pattern: re.Pattern[str], value: object) -> str:
    name = text(value)
    return name if pattern.fullmatch(name) else ""
