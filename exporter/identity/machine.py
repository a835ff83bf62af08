"""The identity of the machine, field by field: configuration, then the stream, then environment.

A field that is known once does not change any more: labels and dimensions are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

from exporter.model import Machine
from exporter.text import clean

_STREAM = {
    "instance_id": "instance_id",
    "instance_type": "instance_type",
    "instance_name": "instance_name",
    "availability_zone": "instance_availability_zone",
    "region": "instance_region",
    "subnet_id": "subnet_id",
    "ultraserver_id": "ultraserver_id",
}
"""Fields, and the keys of `instance_info` that hold them."""

_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")


class Identity:
    """What is known of the machine so far. Written by one thread, read by any."""

    def __init__(self, configured: Machine, environment: Mapping[str, str]) -> None:
        self._known = configured
        self._fallback = Machine(
            region=next((environment[v] for v in _REGION_VARIABLES if environment.get(v)), "")
        )
        self._machine = _fill(configured, self._fallback)
        self._told: object = None

    def machine(self) -> Machine:
        """The machine as it is known now."""
        return self._machine

    def observe(self, instance_info: object) -> Machine:
        """Learn from a report's `instance_info`, whose fields may be missing or empty."""
        if instance_info != self._told:  # every report repeats it
            self._told = instance_info
            told = {
                name: clean((getattr(instance_info, key, None) or "").strip())
                for name, key in _STREAM.items()
            }
            self._known = _fill(self._known, Machine(**told))
            self._machine = _fill(self._known, self._fallback)
        return self._machine


def _fill(known: Machine, more: Machine) -> Machine:
    """The machine with every unknown field taken from `more`; the same object if none is."""
    news = {
        each.name: value
        for each in fields(Machine)
        if not getattr(known, each.name) and (value := getattr(more, each.name))
    }
    return replace(known, **news) if news else known
