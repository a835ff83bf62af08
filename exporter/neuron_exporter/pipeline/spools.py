"""Open the spools of the sinks that send, and check their settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from neuron_exporter.config.spool import SpoolConfig
from neuron_exporter.model import Machine
from neuron_exporter.sinks.delivery.sink import OnDrop, OpenSpool
from neuron_exporter.sinks.delivery.spool import paths
from neuron_exporter.sinks.delivery.spool.rows import Codec
from neuron_exporter.sinks.delivery.spool.spool import Spool
from neuron_exporter.sinks.delivery.transport import AcceptedAges, R
from neuron_exporter.text import format_duration
from neuron_exporter.validation import SettingProblem

_RETRY_SECONDS = 60.0
"""Time for the first attempts to send a request."""


class Clocks(NamedTuple):
    """The wall clock and the monotonic one."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]


def opener(
    sink: str,
    config: SpoolConfig,
    accepted: AcceptedAges,
    codec: Codec[R],
    destination: Callable[[Machine], paths.Destination],
    clocks: Clocks,
    *,
    in_memory: bool = False,
) -> OpenSpool[R]:
    """Return a function that opens the spool of a sink on a machine. Requests are dropped at the
    configured age, or when the receiver no longer accepts them."""
    template = "" if in_memory else config.path or ""

    def open_spool(machine: Machine, on_drop: OnDrop) -> Spool[R]:
        values = {"task_id": machine.task_id, "pod_uid": machine.pod_uid}
        return Spool(
            paths.expand(template, values) if template else None,
            config.max_bytes,
            accepted._replace(past=min(config.max_age, accepted.past)),
            on_drop,
            codec=codec,
            destination=destination(machine),
            sink=sink,
            template=template,
            clock=clocks.wall,
            monotonic=clocks.monotonic,
        )

    return open_spool


def placeholders(config: SpoolConfig) -> list[str]:
    """Return the fields of the machine that the path contains."""
    return [name for name in paths.PLACEHOLDERS if f"{{{name}}}" in (config.path or "")]


def check_path(section: str, config: SpoolConfig) -> Iterator[SettingProblem]:
    """Yield what is wrong with the path."""
    if config.path is not None and (message := paths.problem(config.path)):
        yield SettingProblem(f"{section}.spool.path", None, message)


def check_max_age(
    section: str, config: SpoolConfig, interval_key: str, interval: float
) -> Iterator[SettingProblem]:
    """Reject a max_age that would expire requests before their first attempt.

    The age of a request counts from the start of its interval. It is sent up to two intervals
    later.
    """
    minimum = 2 * interval + _RETRY_SECONDS
    if config.max_age < minimum:
        yield SettingProblem(
            f"{section}.spool.max_age",
            format_duration(config.max_age),
            f"must be at least {format_duration(minimum)}, which is twice {section}.{interval_key} "
            f"({format_duration(interval)}) and a minute",
        )
