"""What is known so far: each check reads what those before it have found out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from neuron_exporter.config import Config, Given, Loaded
from neuron_exporter.doctor.scraped import Exposed
from neuron_exporter.identity.machine import Identity
from neuron_exporter.model import Machine, SourceState
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.report import Report


class Run(NamedTuple):
    """What `neuron-exporter run` was started with: its file, and its flags as settings."""

    path: str | None
    flags: Sequence[Given]


class Sample(NamedTuple):
    """What was heard of the source by listening to it for a while. `interval` is the time between
    two reports (s), None where there were not two."""

    state: SourceState
    detail: str
    line: bytes = b""
    report: Report | None = None
    interval: float | None = None
    group_errors: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Case:
    """One examination. What is None was not found out."""

    environment: Mapping[str, str]
    path: str | None = None
    flags: Sequence[Given] = ()
    send: bool = False
    bundled: bool = False
    read_run: Callable[[Sequence[str]], Run | None] = lambda _: None
    loaded: Loaded = field(default_factory=lambda: Loaded(Config(), {}))
    pipeline: Pipeline | None = None
    exposed: Exposed | None = None
    is_running: bool = False
    snapshot: bytes = b""
    threads: bytes = b""
    masked_report: bytes = b""
    metrics: bytes = b""
    sample: Sample | None = None
    identity: Identity | None = None

    @property
    def config(self) -> Config:
        """The configuration, as far as it is legal."""
        return self.loaded.config

    @property
    def machine(self) -> Machine:
        """The machine as it is known so far."""
        return self.identity.machine() if self.identity is not None else Machine()

    @property
    def report(self) -> Report | None:
        """The last report that was heard."""
        return self.sample.report if self.sample is not None else None

    @property
    def instance_type(self) -> str:
        """What the machine is, as the identity or else the running exporter has it."""
        exposed = self.exposed.anywhere("instance_type") if self.exposed is not None else ""
        return self.machine.instance_type or exposed

    def reported(self, label: str) -> str:
        """What reports say of the machine's hardware; empty where nobody told."""
        if self.report is not None:
            value = getattr(self.report.neuron_hardware_info, label, None)
            return "" if value is None else str(value)
        return self.exposed.label("neuron_hardware_info", label) if self.exposed else ""
