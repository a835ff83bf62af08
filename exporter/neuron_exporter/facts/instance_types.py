"""AWS instance types with Neuron devices.

A figure that no source states is left out, and never guessed. What a report says of its machine
goes before this table. The `ml.` twins of SageMaker have the same figures and no rows of their own;
machines with Trainium3 have none, since no name of theirs has been published.
"""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Source:
    """Where figures were read, and the date of what was read."""

    name: str
    date: str


_KARPENTER = Source("Karpenter's AWS provider 1d92708: instance type reference", "2026-08-21")
_BOTOCORE = Source("botocore 1.43.67: EC2 instance types (the name)", "2026-08-07")
_HELM = Source("helm charts of AWS's observability 71a298f (the name)", "read 2026-11")
_NEURON_HELM = Source("neuron-helm-charts: values.yaml (the name)", "2024")
_EXAMPLES = Source("AWS Neuron documentation 81ce03a: examples (the name)", "2026-08-21")


def _architecture(page: str) -> Source:
    return Source(f"AWS Neuron documentation 81ce03a: {page}", "2026-08-21")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """One type. None is a figure that no source states.

    `cores_per_device` are physical; by default the software shows groups of `logical_core_size` of
    them as one logical core. `efa_interfaces` is None also where a source lists no EFA.
    """

    name: str
    sources: tuple[Source, ...]
    accelerator: str | None = None
    vcpus: int | None = None
    memory_gib: int | None = None
    devices: int | None = None
    cores_per_device: int | None = None
    logical_core_size: int | None = None
    device_memory_gib: int | None = None
    efa_interfaces: int | None = None
    instances_per_ultraserver: int | None = None
    note: str = ""

    @property
    def device_memory_bytes(self) -> int | None:
        """Memory of one device."""
        return _times(self.device_memory_gib, _GIB)

    @property
    def total_device_memory_gib(self) -> int | None:
        """Memory of all devices."""
        return _times(self.device_memory_gib, self.devices)

    @property
    def cores(self) -> int | None:
        """Physical NeuronCores of the machine."""
        return _times(self.cores_per_device, self.devices)

    @property
    def logical_cores_per_device(self) -> int | None:
        """NeuronCores of one device as the software shows them by default."""
        if self.cores_per_device is None or self.logical_core_size is None:
            return None
        return self.cores_per_device // self.logical_core_size

    @property
    def logical_cores(self) -> int | None:
        """NeuronCores of the machine as the software shows them by default."""
        return _times(self.logical_cores_per_device, self.devices)


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other


@dataclass(frozen=True, slots=True)
class _Chip:
    """One device, whichever machine it is in."""

    name: str | None
    cores: int | None
    logical_core_size: int | None
    memory_gib: int | None


_INFERENTIA = _Chip("inferentia", 4, 1, 8)
_INFERENTIA2 = _Chip("inferentia2", 2, 1, 32)
_TRAINIUM = _Chip("trainium", 2, 1, 32)
_TRAINIUM2 = _Chip("trainium2", 8, 2, 96)
_UNKNOWN = _Chip(None, None, None, None)

_INF1 = (_architecture("inf1-arch"), _KARPENTER)
_INF2 = (_architecture("inf2-arch"), _KARPENTER)
_TRN1 = (_architecture("trn1-arch"), _KARPENTER)
_TRN2 = (_architecture("trn2-arch"), _KARPENTER)
_TRN2_CHIP = _architecture("trainium2 (the device)")
_NAMED = (_TRN2_CHIP, _HELM, _EXAMPLES)

_GUIDE = "the ECS developer guide of 2023 says {}, which is wrong"
_EXAMPLE_IS_NO_PROOF = (
    "an example report shows 16 devices, as that of an inf1.xlarge does, which has one"
)


def _row(
    name: str,
    chip: _Chip,
    sources: tuple[Source, ...],
    vcpus: int | None = None,
    memory_gib: int | None = None,
    devices: int | None = None,
    efa_interfaces: int | None = None,
    instances_per_ultraserver: int | None = None,
    note: str = "",
) -> InstanceType:
    return InstanceType(
        name=name,
        sources=sources,
        accelerator=chip.name,
        vcpus=vcpus,
        memory_gib=memory_gib,
        devices=devices,
        cores_per_device=chip.cores,
        logical_core_size=chip.logical_core_size,
        device_memory_gib=chip.memory_gib,
        efa_interfaces=efa_interfaces,
        instances_per_ultraserver=instances_per_ultraserver,
        note=note,
    )


INSTANCE_TYPES: dict[str, InstanceType] = {
    row.name: row
    for row in (
        _row("inf1.xlarge", _INFERENTIA, _INF1, 4, 8, 1),
        _row("inf1.2xlarge", _INFERENTIA, _INF1, 8, 16, 1),
        _row("inf1.6xlarge", _INFERENTIA, _INF1, 24, 48, 4),
        _row("inf1.24xlarge", _INFERENTIA, _INF1, 96, 192, 16, 1),
        _row("inf2.xlarge", _INFERENTIA2, _INF2, 4, 16, 1, note=_GUIDE.format("8 vCPUs")),
        _row("inf2.8xlarge", _INFERENTIA2, _INF2, 32, 128, 1, note=_GUIDE.format("64 GiB")),
        _row("inf2.24xlarge", _INFERENTIA2, _INF2, 96, 384, 6),
        _row("inf2.48xlarge", _INFERENTIA2, _INF2, 192, 768, 12),
        _row("inf2e.32xlarge", _UNKNOWN, (_NEURON_HELM,), note="nothing but the name is public"),
        _row("trn1.2xlarge", _TRAINIUM, _TRN1, 8, 32, 1),
        _row("trn1.32xlarge", _TRAINIUM, _TRN1, 128, 512, 16, 8),
        _row("trn1n.32xlarge", _TRAINIUM, _TRN1, 128, 512, 16, 16),
        _row("trn2.3xlarge", _TRAINIUM2, (_TRN2_CHIP, _BOTOCORE, _KARPENTER), devices=1),
        _row("trn2.48xlarge", _TRAINIUM2, _TRN2, 192, 2048, 16, 16),
        _row("trn2u.48xlarge", _TRAINIUM2, _TRN2, 192, 2048, 16, 16, 4),
        _row("trn2n.48xlarge", _TRAINIUM2, _NAMED, note=_EXAMPLE_IS_NO_PROOF),
        _row("trn2a.48xlarge", _TRAINIUM2, _NAMED),
    )
}
