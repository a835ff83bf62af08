"""State shared by the checks: each check reads the results of earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from neuron_exporter.config import Config, LoadedConfig, Override
from neuron_exporter.doctor.scraped import ScrapedMetrics, known_machine
from neuron_exporter.doctor.server import Server
from neuron_exporter.identity.machine import Identity, fill
from neuron_exporter.model import Machine, SourceState
from neuron_exporter.pipeline.build import Pipeline
from neuron_exporter.report import Report


class RunArguments(NamedTuple):
    """Arguments of a running `neuron-exporter run`: its file, and its flags as settings."""

    path: str | None
    flags: Sequence[Override]


class Sample(NamedTuple):
    """Result of running the source for a while. `interval` is the time between two reports (s);
    None if fewer than two came."""

    state: SourceState
    detail: str
    line: bytes = b""
    report: Report | None = None
    interval: float | None = None
    group_errors: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Context:
    """Options and results of one run of the doctor. None means unknown."""

    environment: Mapping[str, str]
    path: str | None = None
    flags: Sequence[Override] = ()
    send: bool = False
    is_bundled: bool = False
    is_health_check: bool = False
    """Whether a program acts on the answer (`--check`): then the doctor's own rights are no fault
    of the machine."""
    parse_run: Callable[[Sequence[str]], RunArguments | None] = lambda _: None
    loaded: LoadedConfig = field(default_factory=lambda: LoadedConfig(Config(), {}))
    pipeline: Pipeline | None = None
    scraped: ScrapedMetrics | None = None
    is_running: bool = False
    server: Server | None = None
    snapshot: bytes = b""
    threads: bytes = b""
    masked_report: bytes = b""
    metrics: bytes = b""
    sample: Sample | None = None
    identity: Identity | None = None
    incomplete: set[str] = field(default_factory=set)
    """Subjects whose check ended early."""

    @property
    def config(self) -> Config:
        """The configuration, as far as it is valid."""
        return self.loaded.config

    @property
    def machine(self) -> Machine:
        """The machine's identity, as far as the doctor or the running exporter knows it."""
        own = self.identity.machine() if self.identity is not None else Machine()
        return fill(own, known_machine(self.scraped, self.snapshot))

    @property
    def is_unreadable(self) -> bool:
        """Whether an exporter runs whose state cannot be read."""
        return self.is_running and self.scraped is None and not self.snapshot

    @property
    def report(self) -> Report | None:
        """The last report that the doctor read."""
        return self.sample.report if self.sample is not None else None

    def hardware_info(self, label: str) -> str:
        """Return a field of `neuron_hardware_info` as text; empty if no report has it."""
        if self.report is not None:
            value = getattr(self.report.neuron_hardware_info, label, None)
            return "" if value is None else str(value)
        return self.scraped.label("neuron_hardware_info", label) if self.scraped else ""
