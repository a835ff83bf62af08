"""Whose cores and devices are, where neuron-monitor's own report says so (`neuron_k8s_info`)."""

from __future__ import annotations

from collections.abc import Mapping

from exporter.model import Owner, Owners
from exporter.report.types import KubernetesInfo, Pod
from exporter.text import clean

SHORTEST_LIFE = 60.0
"""Seconds that what was said may be used at least: the section may come less often than reports."""


class Pods:
    """Remembers what the stream last said of pods, and joins it with what others know."""

    def __init__(self) -> None:
        self._info: KubernetesInfo | None = None
        self._until = 0.0
        self._made_of: object = None
        self._joined = Owners()

    def join(
        self, info: KubernetesInfo | None, cores_per_device: int | None, others: Owners, now: float
    ) -> Owners:
        """All that is known; `others` goes before the stream. The same object while it can be."""
        if info is not None and not info.error:
            self._info = info
            self._until = now + max(3 * (info.period or 0.0), SHORTEST_LIFE)
        elif now > self._until:
            self._info = None
        if self._info is None:
            return others
        made_of = self._info, cores_per_device, others
        if made_of != self._made_of:
            self._made_of = made_of
            self._joined = _joined(self._info, cores_per_device or 0, others)
        return self._joined


def _joined(info: KubernetesInfo, cores_per_device: int, others: Owners) -> Owners:
    devices = _owners(info.neurondevices_k8s_info or {})
    cores = {
        device * cores_per_device + at: owner
        for device, owner in devices.items()
        for at in range(cores_per_device)
    }
    cores.update(_owners(info.neuroncores_k8s_info or {}))
    return Owners(
        by_core={**cores, **others.by_core},
        by_device={**devices, **others.by_device},
        by_pid=others.by_pid,
    )


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
