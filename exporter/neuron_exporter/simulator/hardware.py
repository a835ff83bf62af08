"""The machines that can be simulated: those whose figures are all known."""

from __future__ import annotations

from typing import Any, NamedTuple

from neuron_exporter.facts.instance_types import INSTANCE_TYPES, InstanceType

_GIB = 2**30
_TERA = 10**12

_FIGURES = {
    "accelerator": "accelerator",
    "vcpus": "vCPUs",
    "memory_gib": "host memory",
    "devices": "number of devices",
    "logical_cores_per_device": "cores of a device",
    "logical_core_size": "size of a logical core",
    "device_memory_bytes": "memory of a device",
}
"""What a simulated machine needs of its instance type, by field, and what it is called."""


class Generation(NamedTuple):
    """What neuron-monitor prints of an accelerator."""

    device_version: str = ""
    core_version: str = ""
    peak_flops: int = 0
    """Of a logical core, at BF16, by the documentation of the device."""
    old_tools: bool = False
    """Inf1 is served by tools of its own time, with fields of that time."""


_GENERATIONS = {
    "inferentia": Generation(old_tools=True),
    "inferentia2": Generation("v3", "v2", 95 * _TERA),
    "trainium": Generation("v2", "v2", 95 * _TERA),
    "trainium2": Generation("v4", "v3d", 667 * _TERA // 4),
}


class Hardware(NamedTuple):
    """A machine of which everything is known. Cores are logical ones, as reports count them."""

    name: str
    accelerator: str
    generation: Generation
    vcpus: int
    memory: int
    devices: int
    cores_per_device: int
    logical_core_size: int
    device_memory: int
    in_ultraserver: bool

    @property
    def cores(self) -> int:
        """NeuronCores of the machine."""
        return self.devices * self.cores_per_device

    @property
    def core_memory(self) -> int:
        """Bytes of device memory for each core."""
        return self.device_memory // self.cores_per_device


def hardware(name: str) -> Hardware:
    """The machine of this type.

    Raises:
        ValueError: there is no such type, or not all of its figures are known.
    """
    kind = INSTANCE_TYPES.get(name)
    if kind is None:
        raise ValueError(f"must be one of {', '.join(SIMULATED)} (got {name!r})")
    missing = _missing(kind)
    if missing:
        raise ValueError(
            f"{name} cannot be simulated: no source states its {', '.join(missing)}; "
            f"must be one of {', '.join(SIMULATED)}"
        )
    known: dict[str, Any] = {field: getattr(kind, field) for field in _FIGURES}
    return Hardware(
        name=name,
        accelerator=known["accelerator"],
        generation=_GENERATIONS[known["accelerator"]],
        vcpus=known["vcpus"],
        memory=known["memory_gib"] * _GIB,
        devices=known["devices"],
        cores_per_device=known["logical_cores_per_device"],
        logical_core_size=known["logical_core_size"],
        device_memory=known["device_memory_bytes"],
        in_ultraserver=kind.instances_per_ultraserver is not None,
    )


def _missing(kind: InstanceType) -> list[str]:
    return [title for field, title in _FIGURES.items() if getattr(kind, field) is None]


SIMULATED = tuple(sorted(name for name, kind in INSTANCE_TYPES.items() if not _missing(kind)))
"""The names of the machines that can be simulated."""
