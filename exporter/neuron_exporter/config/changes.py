"""Which keys another configuration may change while the exporter runs, and what it changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from neuron_exporter.config.load import Loaded
from neuron_exporter.config.schema import Section, is_duration
from neuron_exporter.config.shown import shown
from neuron_exporter.units import format_duration

HOT = frozenset(
    {
        "prometheus.web_config_file",
        "prometheus.preset",
        "prometheus.include",
        "prometheus.exclude",
        "cloudwatch.preset",
        "cloudwatch.include",
        "cloudwatch.exclude",
        "cloudwatch.dimension_sets",
        "cloudwatch.extra_dimensions",  # a part of every dimension set
        "cloudwatch.budget.max_metrics",
        "cloudwatch.budget.max_monthly_usd",
        "cloudwatch.budget.keep",
        "log.level",
    }
)
"""Keys that take effect at once."""

COLD = frozenset(
    {
        "source.kind",
        "source.command",
        "source.path",
        "source.period",
        "source.max_line",
        "source.replay.speed",
        "source.replay.at_end",
        "counters.ecc",
        "counters.generic",
        "prometheus.enabled",
        "prometheus.listen",
        "prometheus.layout",
        "prometheus.runtime_labels",
        "cloudwatch.enabled",
        "cloudwatch.transport",
        "cloudwatch.namespace",
        "cloudwatch.region",
        "cloudwatch.endpoint_url",
        "cloudwatch.scope",
        "cloudwatch.flush_interval",
        "cloudwatch.spool.path",
        "cloudwatch.spool.max_bytes",
        "cloudwatch.spool.max_age",
        "identity.instance_id",
        "identity.instance_type",
        "identity.region",
        "identity.cluster",
        "identity.auto_scaling_group",
        "identity.imds",
        "identity.ecs",
        "identity.ecs_services",
        "identity.kubernetes",
        "identity.pod_labels",
        "web.page",
        "log.format",
    }
)
"""Keys that take effect with the next start only."""


class Change(NamedTuple):
    """A key by its dotted name, and its values as people write them."""

    key: str
    old: str
    new: str


def changes(old: Section, new: Section, above: str = "") -> Iterator[Change]:
    """Every key that has another value, in the order of the configuration."""
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        if isinstance(before, Section):
            yield from changes(before, after, f"{above}{name}.")
        elif before != after:
            show = format_duration if is_duration(field) else shown
            yield Change(f"{above}{name}", show(before), show(after))


def cold(changed: Iterable[Change], loaded: Loaded) -> list[str]:
    """One line for each change that takes a restart; `loaded` has the new values."""
    return [
        loaded.problem(each.key, f"takes a restart: {each.old} is in use, {each.new} was given")
        for each in changed
        if each.key not in HOT
    ]
