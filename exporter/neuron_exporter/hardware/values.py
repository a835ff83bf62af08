"""Contents of the driver's files. Each function raises ValueError for what it cannot read."""

from __future__ import annotations

import re

from neuron_exporter.facts.driver_files import COMPONENTS, POWER_FORM, TOTAL_FORM, UNREACHABLE

STATISTICS = ("min", "max", "avg")
"""Statistics of the power, in their order in the file."""

DEVICE = "device"
"""Component that fails if the driver cannot reach the device."""

_UNREAD_REGISTER = 0xDEADBEEF
_SERIAL_NUMBER = re.compile(r"[0-9A-Za-z._-]{0,64}")


def parse_total(text: str) -> int:
    """Return a total. A register that could not be read is not one."""
    if text == "0":  # as most are
        return 0
    if not TOTAL_FORM.fullmatch(text) or int(text) == _UNREAD_REGISTER:
        raise ValueError("not a total")
    return int(text)


def parse_power(text: str) -> dict[str, float]:
    """Return each statistic as a ratio of the maximum power; empty unless the driver says valid."""
    match = POWER_FORM.fullmatch(text)
    if match is None:
        raise ValueError("not a status of the power")
    ratios = [float(percent) / 100 for percent in match.groups()[1:]]
    if match[1] != "VALID":
        return {}
    if max(ratios) > 1:
        raise ValueError("above the maximum power")
    return dict(zip(STATISTICS, ratios, strict=True))


def parse_serial_number(text: str) -> str:
    """Return a serial number, which is empty if the driver could not read it."""
    if not _SERIAL_NUMBER.fullmatch(text):
        raise ValueError("not a serial number")
    return text


def parse_health(text: str) -> dict[str, float]:
    """Return 1.0 for each healthy component and 0.0 for each that fails.

    If the driver cannot reach the device, only this is known. A list that names nothing known says
    nothing about the others either.
    """
    if text == UNREACHABLE:
        return {DEVICE: 0.0}
    failing = set(filter(None, text.split(",")))
    if failing and not failing & set(COMPONENTS):
        raise ValueError("names no known component")
    return {DEVICE: 1.0, **{name: float(name not in failing) for name in COMPONENTS}}
