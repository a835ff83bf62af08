"""Which of a machine's Neuron devices a task gets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import NoReturn

from neuron_exporter.config import ConfigError, suggest
from neuron_exporter.facts.instance_types import INSTANCE_TYPES, InstanceType

_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?", re.ASCII)
_FAMILIES = ("inf", "trn")

ALL = "all"


def machine(name: str) -> tuple[InstanceType, int]:
    """A type by its name, and how many devices it has.

    Raises:
        ConfigError: it is not known, has no Neuron devices, or nobody says how many.
    """
    row = INSTANCE_TYPES.get(name)
    if row is None:
        problem = f"unknown type; {suggest(name, INSTANCE_TYPES)}"
        if not name.startswith(_FAMILIES):
            problem = "is no type with Neuron devices; `neuron-exporter instance-types` lists those"
        raise ConfigError([f"--instance-type: {problem} (got {name!r})"])
    if row.devices is None:
        raise ConfigError(
            [f"--instance-type: how many devices {name} has is not public, and a task definition "
             "has to name each (`neuron-exporter instance-types` tells what is known)"]
        )  # fmt: skip
    return row, row.devices


def chosen(text: str | None, name: str, count: int) -> tuple[int, ...]:
    """The indices that `--devices` names, of a machine with so many, in rising order.

    None is all where there is one. On a larger machine a choice has to be made: tasks that share a
    machine must not map the same device, and ECS does not see to that.

    Raises:
        ConfigError: it names none, one that there is not, or one twice.
    """
    if text == ALL or (text is None and count == 1):
        return tuple(range(count))
    last = f"0 to {count - 1}"
    if text is None:
        raise ConfigError(
            [f"--devices: must be given, since {name} has {count}: one for each task, as in 0, or "
             "0-3, 0,2 or all"]
        )  # fmt: skip
    indices: list[int] = []
    for part in text.split(","):
        matched = _RANGE.fullmatch(part)
        if matched is None:
            _refuse("must be a number, a range, a list of these or all, as in 0, 0-3 or 0,2", text)
        first, end = int(matched[1]), int(matched[2] or matched[1])
        if first > end:
            _refuse(f"the range {part} ends before it begins", text)
        if end >= count:
            is_only = count == 1
            _refuse(f"{name} has {'device 0 alone' if is_only else f'devices {last}'}", text)
        indices += range(first, end + 1)
    twice = {index for index in indices if indices.count(index) > 1}
    if twice:
        _refuse(f"must not name a device twice ({', '.join(map(str, sorted(twice)))})", text)
    return tuple(sorted(indices))


def _refuse(message: str, given: str) -> NoReturn:
    raise ConfigError([f"--devices: {message} (got {given!r})"])


def mapped(indices: Iterable[int]) -> list[dict[str, object]]:
    """The devices as `linuxParameters` has them.

    A device has the same name in the container as on the host: by it the exporter knows which cores
    are the task's. Nobody has to make device nodes (mknod).
    """
    return [
        {
            "hostPath": f"/dev/neuron{index}",
            "containerPath": f"/dev/neuron{index}",
            "permissions": ["read", "write"],
        }
        for index in indices
    ]


def shown(indices: Iterable[int]) -> str:
    """The indices as they may stand in the name of a family: 0, 0-3, 0_2."""
    ordered = list(indices)
    breaks = [at for at, (one, two) in enumerate(pairwise(ordered), 1) if two != one + 1]
    runs = [ordered[i:j] for i, j in zip([0, *breaks], [*breaks, len(ordered)], strict=True)]
    return "_".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
