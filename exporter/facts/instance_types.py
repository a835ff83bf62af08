"""AWS instance types with Neuron devices.

Sources: the architecture pages of the AWS Neuron documentation for each family (read 2026-08-21)
and the instance type reference of Karpenter's AWS provider (read 2026-08-21). A figure that no
source states is left out. What a report says of its machine goes before this table.
"""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """One type: host CPUs and memory, Neuron devices, physical cores and memory of each device."""

    name: str
    vcpus: int
    memory_gib: int
    devices: int
    cores_per_device: int
    device_memory_gib: int
    accelerator: str

    @property
    def device_memory_bytes(self) -> int:
        """Memory of one device."""
        return self.device_memory_gib * _GIB

    @property
    def cores(self) -> int:
        """Physical NeuronCores of the machine."""
        return self.devices * self.cores_per_device


def _family(
    accelerator: str,
    cores_per_device: int,
    device_memory_gib: int,
    sizes: dict[str, tuple[int, int, int]],
) -> list[InstanceType]:
    """The types of one accelerator, from (vCPUs, GiB of host memory, devices) of each size."""
    return [
        InstanceType(
            name=name,
            vcpus=vcpus,
            memory_gib=memory_gib,
            devices=devices,
            cores_per_device=cores_per_device,
            device_memory_gib=device_memory_gib,
            accelerator=accelerator,
        )
        for name, (vcpus, memory_gib, devices) in sizes.items()
    ]


INSTANCE_TYPES: dict[str, InstanceType] = {
    row.name: row
    for row in (
        *_family(
            "inferentia",
            4,
            8,
            {
                "inf1.xlarge": (4, 8, 1),
                "inf1.2xlarge": (8, 16, 1),
                "inf1.6xlarge": (24, 48, 4),
                "inf1.24xlarge": (96, 192, 16),
            },
        ),
        *_family(
            "inferentia2",
            2,
            32,
            {
                "inf2.xlarge": (4, 16, 1),
                "inf2.8xlarge": (32, 128, 1),
                "inf2.24xlarge": (96, 384, 6),
                "inf2.48xlarge": (192, 768, 12),
            },
        ),
        *_family(
            "trainium",
            2,
            32,
            {
                "trn1.2xlarge": (8, 32, 1),
                "trn1.32xlarge": (128, 512, 16),
                "trn1n.32xlarge": (128, 512, 16),
            },
        ),
        *_family(
            "trainium2",
            8,
            96,
            {
                "trn2.48xlarge": (192, 2048, 16),
                "trn2u.48xlarge": (192, 2048, 16),
            },
        ),
    )
}
