"""Settings of the CloudWatch sink, and what they mean for a machine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from neuron_exporter.model import Machine
from neuron_exporter.sinks.cloudwatch import dimensions
from neuron_exporter.sinks.cloudwatch.dimensions import OWNER_DIMENSIONS, DimensionSet

NAME = "cloudwatch"
"""Name of the sink in log events and labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """Settings of the sink.

    Attributes:
        interval: Length of a window in seconds.
        owner_dimensions: Dimensions that identify the owner of a core.
        metric_limit: Number of metrics that may be published; None for any number.
        keep: Globs of metric names that the budget never suppresses.
        spool_names: Fields of the machine's identity that the spool's path contains.
        spread: Whether the machines of a fleet send at different times of the interval.
        needs_region: Whether the transport needs a region.
    """

    namespace: str
    region: str | None
    interval: float
    dimension_sets: Sequence[Sequence[str]]
    extra_dimensions: Mapping[str, str] = field(default_factory=dict)
    owner_dimensions: Collection[str] = tuple(OWNER_DIMENSIONS)
    metric_limit: int | None = None
    keep: Sequence[str] = ()
    spool_names: Sequence[str] = ()
    spread: bool = True
    needs_region: bool = True

    def owner_dimensions_in(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the dimensions of a set that show the owner."""
        return dimensions.owner_dimensions_in(names, self.owner_dimensions, self.extra_dimensions)

    def owner_groupings(self) -> list[tuple[str, ...]]:
        """Return the groups of owner dimensions by which the sets distinguish cores."""
        return sorted({self.owner_dimensions_in(names) for names in self.dimension_sets})

    def resolve(self, machine: Machine) -> tuple[list[DimensionSet], list[str]]:
        """Return the sets whose values are known, and the dimensions that the other sets lack."""
        extra, of_owner = self.extra_dimensions, self.owner_dimensions
        complete: list[DimensionSet] = []
        missing: dict[str, None] = {}
        for names in self.dimension_sets:
            resolved = dimensions.resolve(names, machine, extra, of_owner)
            if resolved is not None:
                complete.append(resolved)
                continue
            for name in names:
                known = name in extra or name in of_owner
                if not known and not dimensions.machine_value(machine, name):
                    missing[name] = None
        return complete, list(missing)
