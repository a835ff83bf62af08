"""What CloudWatch's sink is told of the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from neuron_exporter.sinks.cloudwatch.dimensions import HOLDER


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to send where. `interval` is a window's length in seconds; `spread` is for a fleet that
    sends to one place. Without `needs_region`, what is sent stays on this machine. `holder` has the
    dimensions that show who holds a core. `limit` is how many metrics may be published, `keep` are
    globs of names that always are. `spool_names` are fields of the identity that the path of the
    spool has in it."""

    namespace: str
    region: str | None
    interval: float
    dimension_sets: Sequence[Sequence[str]]
    extra_dimensions: Mapping[str, str] = field(default_factory=dict)
    holder: Mapping[str, str] = field(default_factory=lambda: HOLDER)
    limit: int | None = None
    keep: Sequence[str] = ()
    spool_names: Sequence[str] = ()
    spread: bool = True
    needs_region: bool = True
