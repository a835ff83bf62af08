"""The parts of neuron-monitor's configuration file that the simulator supports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from neuron_exporter.model import Group

_DEFAULT_PERIOD = 5


class ConfigurationError(Exception):
    """The configuration file cannot be read or is not valid."""


class _Metric(msgspec.Struct):
    """A group, which may have a period of its own."""

    type: Group
    period: str | None = None


class _Runtimes(msgspec.Struct):
    """The groups of all runtimes. The simulator ignores the filter."""

    metrics: list[_Metric] | None = None
    period: str | None = None


class _Configuration(msgspec.Struct):
    """neuron-monitor's configuration file."""

    period: str | None = None
    neuron_runtimes: list[_Runtimes] | None = None
    system_metrics: list[_Metric] | None = None

    def metrics(self) -> Iterator[tuple[Group, str | None]]:
        """Yield each group with its period, the innermost one that is set."""
        for entry in self.neuron_runtimes or ():
            for metric in entry.metrics or ():
                yield metric.type, metric.period or entry.period or self.period
        for metric in self.system_metrics or ():
            yield metric.type, metric.period or self.period


def periods(path: str | None) -> Mapping[Group, int]:
    """Return the period in seconds of each group in the file, or the defaults without a file.

    Raises:
        ConfigurationError: the file cannot be read or is not valid.
    """
    if path is None:
        # The default configuration has no hardware counters since tools 2.4.6.
        return {g: _DEFAULT_PERIOD for g in Group if g is not Group.HW_COUNTERS}
    try:
        with open(path, "rb") as file:
            document = msgspec.json.decode(file.read(), type=_Configuration)
    except OSError as error:
        raise ConfigurationError(f"{path!r}: cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        reason = f"not a configuration of neuron-monitor: {error}"
        raise ConfigurationError(f"{path!r}: {reason}") from error
    found = {group: _seconds(period) for group, period in document.metrics()}
    return {group: seconds for group, seconds in found.items() if seconds}


def _seconds(text: str | None) -> int:
    """Return a period in seconds as neuron-monitor reads it.

    Only whole seconds are valid; other text means the default, and milliseconds mean never (0).
    """
    if text is None:
        return _DEFAULT_PERIOD
    if text.endswith("ms"):
        return 0
    return int(text[:-1]) if re.fullmatch("0*[1-9][0-9]{0,8}s", text) else _DEFAULT_PERIOD
