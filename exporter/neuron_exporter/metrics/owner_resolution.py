"""Whose cores and devices are: what others tell, and neuron-monitor's own report where it says so
(`neuron_k8s_info`), joined by the numbers of the hardware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from neuron_exporter.model import NOBODY, Allocation, Owner, Owners
from neuron_exporter.report.schema import HardwareInfo, KubernetesInfo, Pod
from neuron_exporter.text import clean

SHORTEST_LIFE = 60.0
"""Seconds that what was said may be used at least: the section may come less often than reports."""


class Pods:
    """Remembers what the stream last said of pods and of hardware, and joins it with what others
    know."""

    def __init__(self) -> None:
        self._info: KubernetesInfo | None = None
        self._until = 0.0
        self._devices: int | None = None
        self._cores_per_device: int | None = None
        self._logical_core_size: int | None = None
        self._made_of: object = None
        self._joined = Owners()

    def join(
        self,
        info: KubernetesInfo | None,
        hardware: HardwareInfo | None,
        others: Owners,
        now: float,
    ) -> Owners:
        """All that is known; `others` goes before the stream. The same object while it can be."""
        if hardware is not None and not hardware.error:
            self._devices = hardware.neuron_device_count or self._devices
            self._cores_per_device = hardware.neuroncore_per_device_count or self._cores_per_device
            self._logical_core_size = hardware.logical_neuroncore_config or 1
        if info is not None and not info.error:
            self._info = info
            self._until = now + max(3 * (info.period or 0.0), SHORTEST_LIFE)
        elif now > self._until:
            self._info = None
        if self._info is None and not (others.by_device or others.task or others.allocation):
            return others
        size = self._devices, self._cores_per_device, self._logical_core_size
        made_of = self._info, size, others
        if made_of != self._made_of:
            self._made_of = made_of
            self._joined = self._join(self._info or KubernetesInfo(), others)
        return self._joined

    def _join(self, info: KubernetesInfo, others: Owners) -> Owners:
        given = others.allocation
        if given is not None and given.is_whole:
            info = KubernetesInfo()  # who gave them knows better, also that he gave none
        mine, default = _of_task(others, self._devices)
        devices = {**_owners(info.neurondevices_k8s_info or {}), **mine}
        cores = {**self._on(devices), **_owners(info.neuroncores_k8s_info or {})}
        allocated = None
        if given is not None:
            numbered = logical_cores(
                given, self._devices, self._cores_per_device, self._logical_core_size
            )
            of_pods = _together(self._on(given.devices), numbered or {})
            devices |= given.devices
            cores |= of_pods
            if given.is_whole and numbered is not None and self._cores_per_device is not None:
                allocated = frozenset(of_pods)
        return replace(
            others,
            by_core={**cores, **self._on(others.by_device), **others.by_core},
            by_device={**devices, **others.by_device},
            default=default,
            allocated=allocated,
        )

    def _on(self, devices: Mapping[int, Owner]) -> dict[int, Owner]:
        """The cores of devices."""
        each = self._cores_per_device or 0
        return {
            device * each + at: owner for device, owner in devices.items() for at in range(each)
        }


def logical_cores(
    given: Allocation, devices: int | None, cores_per_device: int | None, size: int | None
) -> dict[int, Owner] | None:
    """Whose logical cores are, by the numbers of those who gave them, which may be those of the
    physical cores: of these a logical core has `size`, None while that is not known. None where the
    numbers could be either.

    Numbers at or above the number of logical cores are physical; where even the highest that can
    be given is below it, all are logical.
    """
    if size == 1 or not given.cores:
        return dict(given.cores)
    count = (devices or 0) * (cores_per_device or 0)
    highest = max(given.highest_core or 0, *given.cores)
    if size is None or not count or (highest < count and given.highest_core is None):
        return None
    if highest < count:
        return dict(given.cores)
    found: dict[int, Owner] = {}
    for core, owner in given.cores.items():
        found[core // size] = owner if found.get(core // size, owner) == owner else NOBODY
    return found


def _together(some: Mapping[int, Owner], others: Mapping[int, Owner]) -> dict[int, Owner]:
    """Both; what two have is neither's."""
    return {
        **some,
        **{key: each if some.get(key, each) == each else NOBODY for key, each in others.items()},
    }


def _of_task(others: Owners, counted: int | None) -> tuple[dict[int, Owner], Owner]:
    """The devices of our own task, and whose all other processes are. A report that counts no more
    devices than we have is of our container alone, and may number them from 0."""
    if others.task is None:
        return {}, NOBODY
    owner, present = others.task
    if counted is not None and counted <= len(present):
        return dict.fromkeys(range(counted), owner), owner
    return dict.fromkeys(present, owner), NOBODY


def _owners(pods: Mapping[int, Pod | None]) -> dict[int, Owner]:
    """The owners that are named. Of several containers none is named: which one is not known."""
    return {
        index: Owner(
            namespace=clean(pod.namespace or ""),
            pod=clean(pod.pod_name),
            container=clean(containers[0]) if len(containers) == 1 else "",
        )
        for index, pod in pods.items()
        if pod is not None and pod.pod_name
        for containers in [[name for name in pod.container_name or () if name]]
    }
