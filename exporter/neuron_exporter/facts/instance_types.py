"""AWS instance types with Neuron devices.

A figure without a public source is left out, never guessed. Values in a report take precedence over
this table. SageMaker's `ml.` types have the same figures and no rows of their own. Some rows, such
as all of Trainium3, are not confirmed: only AWS's own programs have these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Citation:
    """Source of figures, and its date."""

    name: str
    date: str


@dataclass(frozen=True, slots=True)
class InstanceType:
    """An instance type. None is a figure without a public source.

    `cores_per_device` counts physical cores. By default the software presents `logical_core_size`
    of them as one logical core. `efa_interfaces` is also None for a type without EFA. A type is
    `confirmed` if a public source says that it can be launched.
    """

    name: str
    vcpus: int | None = None
    memory_gib: int | None = None
    devices: int | None = None
    efa_interfaces: int | None = None
    instances_per_ultraserver: int | None = None
    note: str = ""
    confirmed: bool = True
    sources: tuple[Citation, ...] = ()
    accelerator: str | None = None
    cores_per_device: int | None = None
    logical_core_size: int | None = None
    device_memory_gib: int | None = None

    @property
    def device_memory_bytes(self) -> int | None:
        """Memory of one device, in bytes."""
        return _times(self.device_memory_gib, _GIB)

    @property
    def total_device_memory_gib(self) -> int | None:
        """Memory of all devices, in GiB."""
        return _times(self.device_memory_gib, self.devices)

    @property
    def cores(self) -> int | None:
        """Number of physical NeuronCores."""
        return _times(self.cores_per_device, self.devices)

    @property
    def logical_cores_per_device(self) -> int | None:
        """Number of logical NeuronCores per device, by default."""
        cores, size = self.cores_per_device, self.logical_core_size
        return cores // size if cores and size else None

    @property
    def logical_cores(self) -> int | None:
        """Number of logical NeuronCores, by default."""
        return _times(self.logical_cores_per_device, self.devices)


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other


_KARPENTER = Citation("Karpenter's AWS provider 1d92708: instance type reference", "2026-08-21")
_BOTOCORE = Citation("botocore 1.43.67: EC2 instance types (the name)", "2026-08-07")
_HELM = Citation("helm charts of AWS's observability 71a298f (the name)", "read 2026-11")
_NEURON_HELM = Citation("neuron-helm-charts: values.yaml (the name)", "2024")
_EXAMPLES = Citation("AWS Neuron documentation 81ce03a: examples (the name)", "2026-08-21")
_ULTRASERVER = Citation("botocore 1.44.8: EC2 instance types (the name)", "2026-11")
_DRIVER = Citation("AWS's driver 9cc489e: v4/neuron_dhal_v4.c (name, devices)", "read 2026-11-28")
_CHART = Citation("Neuron's Helm chart 1.10.0 as quoted in a blog (the name)", "read 2026-11-28")


def _architecture(page: str) -> Citation:
    return Citation(f"AWS Neuron documentation 81ce03a: {page}", "2026-08-21")


def _types(
    accelerator: str, cores: int, logical_core_size: int, memory_gib: int, *sources: Citation
) -> partial[InstanceType]:
    """Return a builder of the types with a device, which is the same in all of them."""
    return partial(
        InstanceType,
        accelerator=accelerator,
        cores_per_device=cores,
        logical_core_size=logical_core_size,
        device_memory_gib=memory_gib,
        sources=sources,
    )


_inf1 = _types("inferentia", 4, 1, 8, _architecture("inf1-arch"), _KARPENTER)
_inf2 = _types("inferentia2", 2, 1, 32, _architecture("inf2-arch"), _KARPENTER)
_trn1 = _types("trainium", 2, 1, 32, _architecture("trn1-arch"), _KARPENTER)
_trn2 = _types("trainium2", 8, 2, 96, _architecture("trn2-arch"), _KARPENTER)
_TRN2_CHIP = _architecture("trainium2 (the device)")
_NAMED = (_TRN2_CHIP, _HELM, _EXAMPLES)
_TRN3_CHIP = _architecture("trainium3 (the device)")
_trn3 = partial(_types("trainium3", 8, 2, 144, _TRN3_CHIP, _DRIVER), confirmed=False)

_GUIDE = "the ECS developer guide of 2023 wrongly states {}"
_UNRELIABLE_EXAMPLE = (
    "an example report shows 16 devices, but so does that of an inf1.xlarge, which has one"
)

INSTANCE_TYPES: dict[str, InstanceType] = {
    row.name: row
    for row in (
        _inf1("inf1.xlarge", 4, 8, 1),
        _inf1("inf1.2xlarge", 8, 16, 1),
        _inf1("inf1.6xlarge", 24, 48, 4),
        _inf1("inf1.24xlarge", 96, 192, 16, 1),
        _inf2("inf2.xlarge", 4, 16, 1, note=_GUIDE.format("8 vCPUs")),
        _inf2("inf2.8xlarge", 32, 128, 1, note=_GUIDE.format("64 GiB")),
        _inf2("inf2.24xlarge", 96, 384, 6),
        _inf2("inf2.48xlarge", 192, 768, 12),
        InstanceType("inf2e.32xlarge", confirmed=False, sources=(_NEURON_HELM,)),
        _trn1("trn1.2xlarge", 8, 32, 1),
        _trn1("trn1.32xlarge", 128, 512, 16, 8),
        _trn1("trn1n.32xlarge", 128, 512, 16, 16),
        _trn2("trn2.3xlarge", devices=1, sources=(_TRN2_CHIP, _BOTOCORE, _KARPENTER)),
        _trn2("trn2.48xlarge", 192, 2048, 16, 16),
        _trn2(
            "trn2u.48xlarge",
            192,
            2048,
            16,
            16,
            4,
            sources=(_architecture("trn2-arch"), _KARPENTER, _ULTRASERVER),
        ),
        _trn2("trn2n.48xlarge", confirmed=False, note=_UNRELIABLE_EXAMPLE, sources=_NAMED),
        _trn2("trn2a.48xlarge", confirmed=False, sources=_NAMED),
        _trn3("trn3pd98.3xlarge", devices=1),
        _trn3("trn3sn.3xlarge", devices=1),
        _trn3("trn3e.24xlarge", devices=4),
        _trn3("trn3en.24xlarge", sources=(_TRN3_CHIP, _CHART)),
        _trn3("trn3.48xlarge", sources=(_TRN3_CHIP, _DRIVER, _CHART)),
        _trn3("trn3n.48xlarge", sources=(_TRN3_CHIP, _CHART)),
        _trn3("trn3p.48xlarge", note="an instance of an UltraServer"),
        _trn3("trn3s-es.48xlarge", sources=(_TRN3_CHIP, _DRIVER, _CHART)),
        _trn3("trn3sn.48xlarge"),
    )
}
