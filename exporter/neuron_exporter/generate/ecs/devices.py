"""Select and map the Neuron devices of a task."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NoReturn

from neuron_exporter.config import ConfigError
from neuron_exporter.facts.instance_types import INSTANCE_TYPES, InstanceType
from neuron_exporter.generate.options import unknown_type

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)

ALL = "all"


def find_type(name: str) -> tuple[InstanceType, int]:
    """Return an instance type by its name, and its number of devices.

    Raises:
        ConfigError: the type is unknown, has no Neuron devices, or their number is not public.
    """
    row = INSTANCE_TYPES.get(name)
    if row is None:
        raise unknown_type(name)
    if row.devices is None:
        raise ConfigError(
            [f"--instance-type: the number of devices of {name} is not public, and a task "
             "definition must list each device (see `neuron-exporter instance-types`)"]
        )  # fmt: skip
    return row, row.devices


def parse_devices(text: str | None, name: str, count: int) -> tuple[int, ...]:
    """Parse `--devices` for a machine with so many devices, and return the indices in order.

    None selects the only device. On larger machines the option is required: tasks that share a
    machine must not map the same device, and ECS does not check that.

    Raises:
        ConfigError: the text is invalid, or has an unknown or repeated device.
    """
    if text == ALL or (text is None and count == 1):
        return tuple(range(count))
    last = f"0 to {count - 1}"
    if text is None:
        raise ConfigError(
            [f"--devices: must be set, such as 0, 0-3 or all: {name} has {count} devices"]
        )
    indices: list[int] = []
    for part in text.split(","):
        matched = _RANGE.fullmatch(part)
        if matched is None:
            _reject(
                "must be a number, a range, a list of these, or all, such as 0, 0-3 or 0,2", text
            )
        first, end = int(matched[1]), int(matched[2] or matched[1])
        if first > end:
            _reject(f"the range {part} ends before it begins", text)
        if end >= count:
            _reject(f"{name} has {'only device 0' if count == 1 else f'devices {last}'}", text)
        indices += range(first, end + 1)
    repeated = {index for index in indices if indices.count(index) > 1}
    if repeated:
        _reject(f"must not repeat a device ({', '.join(map(str, sorted(repeated)))})", text)
    return tuple(sorted(indices))


def _reject(message: str, value: str) -> NoReturn:
    raise ConfigError([f"--devices: {message} (got {value!r})"])


def device_mappings(indices: Iterable[int]) -> list[dict[str, object]]:
    """Return the devices for `linuxParameters`.

    A device has the same name in the container as on the host, since the exporter derives the cores
    of the task from it. The container does not need mknod.
    """
    return [
        {"hostPath": path, "containerPath": path, "permissions": ["read", "write"]}
        for path in (f"/dev/neuron{index}" for index in indices)
    ]


def format_devices(indices: Iterable[int]) -> str:
    """Format device indices for the name of a family: 0, 0-3, 0_2."""
    ordered = list(indices)
    breaks = [at for at, (one, two) in enumerate(pairwise(ordered), 1) if two != one + 1]
    runs = [ordered[i:j] for i, j in zip([0, *breaks], [*breaks, len(ordered)], strict=True)]
    return "_".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
