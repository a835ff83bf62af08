"""Schema of a spool, which each sink that sends has."""

from __future__ import annotations

from typing import Annotated

from neuron_exporter.config.section import ConfigSection, declare
from neuron_exporter.config.values import Duration, Size, between, min_bytes


class SpoolConfig(ConfigSection):
    """Storage of requests that were not delivered yet."""

    path: str | None = declare(
        "/var/lib/neuron-exporter/spool.db",
        "File of undelivered requests; null keeps them in memory.",
    )
    max_bytes: Annotated[Size, min_bytes(64 * 1024)] = declare(
        "256MiB", "Size limit of the spool, at least 64KiB; the oldest requests are dropped."
    )
    max_age: Annotated[Duration, between(60, 14 * 86400)] = declare(
        "14d", "Age at which undelivered requests are dropped, 1m to 14d."
    )
