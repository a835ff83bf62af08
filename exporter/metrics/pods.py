"""Whose cores and devices are: what others tell, and neuron-monitor's own report where it says so
(`neuron_k8s_info`), joined by the numbers of the hardware."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from exporter.model import NOBODY, Owner, Owners
from exporter.report.types import HardwareInfo, KubernetesInfo, Pod
from exporter.text import clean

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
        if info is not None and not info.error:
            self._info = info
            self._until = now + max(3 * (info.period or 0.0), SHORTEST_LIFE)
        elif now > self._until:
            self._info = None
        if self._info is None and not others.by_device and others.task is None:
            return others
        made_of = self._info, self._devices, self._cores_per_device, others
        if made_of != self._made_of:
            self._made_of = made_of
            self._joined = self._join(self._info or KubernetesInfo(), others)
        return self._joined

    def _join(self, info: KubernetesInfo, others: Owners) -> Owners:
        mine, default = _of_task(others, self._devices)
        devices = {**_owners(info.neurondevices_k8s_info or {}), **mine, **others.by_device}
        each = self._cores_per_device or 0
        cores = {
            device * each + at: owner for device, owner in devices.items() for at in range(each)
        }
        cores.update(_owners(info.neuroncores_k8s_info or {}))
        return replace(
            others, by_core={**cores, **others.by_core}, by_device=devices, default=default
        )


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
