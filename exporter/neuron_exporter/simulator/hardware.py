"""The machines that can be simulated: those whose figures are all public."""

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
"""Required fields of an instance type, with their names in error messages."""


class Generation(NamedTuple):
    """Values that neuron-monitor reports for an accelerator."""

    device_version: str = ""
    core_version: str = ""
    peak_flops: int = 0
    """FLOP/s of a logical core with BF16, from the documentation of the device."""
    old_tools: bool = False
    """Whether the machine runs old tools with the fields of their time, as Inf1 does."""


_GENERATIONS = {
    "inferentia": Generation(old_tools=True),
    "inferentia2": Generation("v3", "v2", 95 * _TERA),
    "trainium": Generation("v2", "v2", 95 * _TERA),
    "trainium2": Generation("v4", "v3d", 667 * _TERA // 4),
}


class Hardware(NamedTuple):
    """Figures of a simulated machine. Cores are logical ones, as in reports."""

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
        """Number of NeuronCores."""
        return self.devices * self.cores_per_device

    @property
    def core_memory(self) -> int:
        """Device memory per core, in bytes."""
        return self.device_memory // self.cores_per_device


def hardware(name: str) -> Hardware:
    """Return the hardware of an instance type.

    Raises:
        ValueError: the type is unknown, or one of its figures is not public.
    """
    kind = INSTANCE_TYPES.get(name)
    if kind is None:
        raise ValueError(f"must be one of {', '.join(SIMULATED_TYPES)} (got {name!r})")
    missing = _missing(kind)
    if missing:
        raise ValueError(
            f"{name} cannot be simulated: no public source has its {', '.join(missing)}; "
            f"must be one of {', '.join(SIMULATED_TYPES)}"
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


SIMULATED_TYPES = tuple(sorted(name for name, kind in INSTANCE_TYPES.items() if not _missing(kind)))
"""Instance types that can be simulated."""
