"""neuron-monitor's configuration file, as far as the simulator follows it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from neuron_exporter.model import Group

_DEFAULT_PERIOD = 5


class ConfigurationError(Exception):
    """A file that is no configuration of neuron-monitor, or none that can be read."""


class _Metric(msgspec.Struct):
    """A group of neuron-monitor's configuration, which may have a period of its own."""

    type: Group
    period: str | None = None


class _Runtimes(msgspec.Struct):
    """The groups of runtimes, of which the simulator filters none."""

    metrics: list[_Metric] | None = None
    period: str | None = None


class _Configuration(msgspec.Struct):
    """neuron-monitor's configuration file."""

    period: str | None = None
    neuron_runtimes: list[_Runtimes] | None = None
    system_metrics: list[_Metric] | None = None

    def metrics(self) -> Iterator[tuple[Group, str | None]]:
        """Every group with its period: the innermost that is given."""
        for entry in self.neuron_runtimes or ():
            for metric in entry.metrics or ():
                yield metric.type, metric.period or entry.period or self.period
        for metric in self.system_metrics or ():
            yield metric.type, metric.period or self.period


def periods(path: str | None) -> Mapping[Group, int]:
    """The period of every group that is wanted, in seconds.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    if path is None:
        # Hardware counters have not been in the default configuration since tools 2.4.6.
        return {g: _DEFAULT_PERIOD for g in Group if g is not Group.HW_COUNTERS}
    try:
        with open(path, "rb") as file:
            document = msgspec.json.decode(file.read(), type=_Configuration)
    except OSError as error:
        raise ConfigurationError(f"{path!r}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(
            f"{path!r}: not a configuration of neuron-monitor: {error}"
        ) from error
    wanted = {group: _seconds(period) for group, period in document.metrics()}
    return {group: seconds for group, seconds in wanted.items() if seconds}


def _seconds(text: str | None) -> int:
    """A period as neuron-monitor reads it: whole seconds, or the default for what it does not
    understand, or never (0) for milliseconds."""
    if text is None:
        return _DEFAULT_PERIOD
    if text.endswith("ms"):
        return 0
    return int(text[:-1]) if re.fullmatch("0*[1-9][0-9]{0,8}s", text) else _DEFAULT_PERIOD
