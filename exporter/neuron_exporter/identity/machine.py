"""The identity of this machine, merged from several sources field by field.

A field that is set never changes: labels and dimensions are built from it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import IntEnum
from functools import reduce

from neuron_exporter.identity.fields import parse_text
from neuron_exporter.identity.local import read_environment
from neuron_exporter.model import SIMULATED_ID, Machine

STREAM_KEYS = {
    "instance_id": "instance_id",
    "instance_type": "instance_type",
    "instance_name": "instance_name",
    "availability_zone": "instance_availability_zone",
    "region": "instance_region",
    "subnet_id": "subnet_id",
    "ultraserver_id": "ultraserver_id",
}
"""Keys of a report's `instance_info` by field."""


class IdentitySource(IntEnum):
    """The sources of identity fields, by precedence. `DMI` includes the versions of driver and
    tools, which are also read from the machine and have no other source."""

    CONFIGURATION = 0
    STREAM = 1
    DMI = 2
    IMDS = 3
    ECS = 4
    ENVIRONMENT = 5


class Identity:
    """The identity fields known so far. Safe to read and update from any thread."""

    def __init__(self, configured: Machine, environment: Mapping[str, str]) -> None:
        self._by_source = [Machine()] * len(IdentitySource)
        self._by_source[IdentitySource.CONFIGURATION] = configured
        self._lock = threading.Lock()
        self._machine = Machine()
        self._info: object = None
        self.first_lookup_done = threading.Event()
        """Cleared while the first round of lookups runs. Labels should wait for it, since they
        cannot change later."""
        self.first_lookup_done.set()
        self.update(IdentitySource.ENVIRONMENT, read_environment(environment))

    def machine(self) -> Machine:
        """Return the known fields; the same object until a field is added."""
        return self._machine

    @property
    def is_simulated(self) -> bool:
        """Whether the reports name a machine of the simulator."""
        return self._by_source[IdentitySource.STREAM].instance_id.endswith(SIMULATED_ID)

    def update(self, source: IdentitySource, found: Machine) -> Machine:
        """Add the fields that one source found, and return the result.

        A field that this source has already set, or one of higher precedence, stays as it is.
        """
        with self._lock:
            self._by_source[source] = fill(self._by_source[source], found)
            machine = reduce(fill, self._by_source)
            if machine != self._machine:
                self._machine = machine
            return self._machine

    def source_of(self, name: str) -> IdentitySource | None:
        """Return the source of a field, or None if the field is unknown."""
        return next((each for each in IdentitySource if getattr(self._by_source[each], name)), None)

    def observe(self, instance_info: object) -> Machine:
        """Add the fields of a report's `instance_info`, which may be missing or empty."""
        if instance_info != self._info:  # every report repeats it
            self._info = instance_info
            found = {
                name: parse_text(getattr(instance_info, key, None))
                for name, key in STREAM_KEYS.items()
            }
            return self.update(IdentitySource.STREAM, Machine(**found))
        return self._machine


def fill(known: Machine, more: Machine) -> Machine:
    """Return `known` with its empty fields set from `more`; the same object if nothing changes."""
    added = {
        each.name: value
        for each in fields(Machine)
        if not getattr(known, each.name) and (value := getattr(more, each.name))
    }
    return replace(known, **added) if added else known
