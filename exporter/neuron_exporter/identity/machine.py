"""The identity of the machine, field by field, by the first place that knows it.

Whoever makes labels or dimensions of a field keeps it: those do not change any more.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import IntEnum
from functools import reduce

from neuron_exporter.identity import environment as variables
from neuron_exporter.identity.fields import text
from neuron_exporter.model import Machine

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


class Step(IntEnum):
    """The places that may know a field, in the order in which they are believed. Versions of
    driver and tools, which no other place tells, come with what is read of the machine itself."""

    CONFIGURATION = 0
    STREAM = 1
    DMI = 2
    IMDS = 3
    ECS = 4
    ENVIRONMENT = 5


class Identity:
    """What is known of the machine so far. Any thread may tell it more, and any read it."""

    def __init__(self, configured: Machine, environment: Mapping[str, str]) -> None:
        self._told = [Machine()] * len(Step)
        self._told[Step.CONFIGURATION] = configured
        self._lock = threading.Lock()
        self._machine = Machine()
        self._info: object = None
        self.settled = threading.Event()
        """Set while nobody is still being asked for the first time: what is labelled now need not
        be labelled otherwise a moment later."""
        self.settled.set()
        self.learn(Step.ENVIRONMENT, variables.read(environment))

    def machine(self) -> Machine:
        """The machine as it is known now; the same object while nothing is learned."""
        return self._machine

    def learn(self, step: Step, told: Machine) -> Machine:
        """Learn what one place tells. It neither changes what it has told before, nor what a place
        before it has."""
        with self._lock:
            self._told[step] = _fill(self._told[step], told)
            machine = reduce(_fill, self._told)
            if machine != self._machine:
                self._machine = machine
            return self._machine

    def told_by(self, name: str) -> Step | None:
        """The place that a field was taken from; None where none has told it."""
        return next((step for step in Step if getattr(self._told[step], name)), None)

    def observe(self, instance_info: object) -> Machine:
        """Learn from a report's `instance_info`, whose fields may be missing or empty."""
        if instance_info != self._info:  # every report repeats it
            self._info = instance_info
            told = {name: text(getattr(instance_info, key, None)) for name, key in _STREAM.items()}
            return self.learn(Step.STREAM, Machine(**told))
        return self._machine


def _fill(known: Machine, more: Machine) -> Machine:
    """The machine with every unknown field taken from `more`; the same object if none is."""
    news = {
        each.name: value
        for each in fields(Machine)
        if not getattr(known, each.name) and (value := getattr(more, each.name))
    }
    return replace(known, **news) if news else known
