"""Resolves the owners of cores and devices.

Joins the owners that providers have found with those in neuron-monitor's report
(`neuron_k8s_info`), and translates device and physical core numbers to logical cores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from neuron_exporter.metrics.inventory import Inventory
from neuron_exporter.model import NO_OWNER, Allocation, Owner, Owners
from neuron_exporter.report.schema import KubernetesInfo, Pod
from neuron_exporter.text import sanitize_text

MIN_LIFETIME = 60.0
"""Minimum seconds for which `neuron_k8s_info` stays valid; not every report has it."""


class OwnerResolver:
    """Resolver of core and device owners. Remembers the last Kubernetes section."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._info: KubernetesInfo | None = None
        self._info_expires = 0.0
        self._cache_key: object = None
        self._resolved = Owners()

    def resolve(self, info: KubernetesInfo | None, owners: Owners, now: float) -> Owners:
        """Return the providers' `owners`, completed by the report; the same object if unchanged.

        `owners` take precedence over the report.
        """
        if info is not None and not info.error:
            self._info = info
            self._info_expires = now + max(3 * (info.period or 0.0), MIN_LIFETIME)
        elif now > self._info_expires:
            self._info = None
        if self._info is None and not (owners.by_device or owners.task or owners.allocation):
            return owners
        inventory = self._inventory
        sizes = inventory.device_count, inventory.cores_per_device, inventory.logical_core_size
        cache_key = self._info, sizes, inventory.devices, owners
        if cache_key != self._cache_key:
            self._cache_key = cache_key
            self._resolved = self._join(self._info or KubernetesInfo(), owners)
        return self._resolved

    def _join(self, info: KubernetesInfo, owners: Owners) -> Owners:
        allocation = owners.allocation
        if allocation is not None and allocation.is_complete:
            info = KubernetesInfo()  # the scheduler's list is authoritative, also for what is free
        inventory = self._inventory
        task_devices, default = _task_devices(owners, inventory)
        by_device = {**_pod_owners(info.neurondevices_k8s_info or {}), **task_devices}
        by_core = {**self._cores_of(by_device), **_pod_owners(info.neuroncores_k8s_info or {})}
        allocated_cores = None
        if allocation is not None:
            numbered = logical_cores(allocation, inventory.core_limit, inventory.logical_core_size)
            allocated = _merge(self._cores_of(allocation.devices), numbered or {})
            by_device |= allocation.devices
            by_core |= allocated
            known = numbered is not None and inventory.cores_per_device is not None
            if allocation.is_complete and known:
                allocated_cores = frozenset(allocated)
        return replace(
            owners,
            by_core={**by_core, **self._cores_of(owners.by_device), **owners.by_core},
            by_device={**by_device, **owners.by_device},
            default=default,
            allocated_cores=allocated_cores,
        )

    def _cores_of(self, devices: Mapping[int, Owner]) -> dict[int, Owner]:
        """Return the owners of the devices' cores."""
        cores_of = self._inventory.cores_of
        return {core: owner for device, owner in devices.items() for core in cores_of({device})}


def logical_cores(
    allocation: Allocation, core_limit: int, logical_core_size: int | None
) -> dict[int, Owner] | None:
    """Return the owners of logical cores; None if the numbers may be logical or physical.

    A scheduler may number physical cores, `logical_core_size` of which form a logical core. A
    number is physical if it is not below `core_limit`, which is above every logical core (0 if
    unknown). If even the highest allocatable number is below it, all numbers are logical.
    """
    if logical_core_size == 1 or not allocation.cores:
        return dict(allocation.cores)
    highest = max(allocation.highest_core or 0, *allocation.cores)
    is_ambiguous = highest < core_limit and allocation.highest_core is None
    if logical_core_size is None or not core_limit or is_ambiguous:
        return None
    if highest < core_limit:
        return dict(allocation.cores)
    owners: dict[int, Owner] = {}
    for physical, owner in allocation.cores.items():
        core = physical // logical_core_size
        owners[core] = owners.get(core, owner).common(owner)
    return owners


def _merge(first: dict[int, Owner], second: Mapping[int, Owner]) -> dict[int, Owner]:
    """Return both mappings as one; a key with two owners has what both have in common."""
    return first | {key: first.get(key, owner).common(owner) for key, owner in second.items()}


def _task_devices(owners: Owners, inventory: Inventory) -> tuple[dict[int, Owner], Owner]:
    """Return the owners of the devices of our own task, and the default owner of processes.

    If the reports cover only this container, whatever the numbers of its devices are, every device
    and every process belongs to the task.
    """
    if owners.task is None:
        return {}, NO_OWNER
    owner, devices = owners.task
    if inventory.covers_only(devices):
        reported = inventory.counted_devices | (inventory.devices or set())
        return dict.fromkeys(sorted(devices | reported), owner), owner
    return dict.fromkeys(devices, owner), NO_OWNER


def _pod_owners(pods: Mapping[int, Pod | None]) -> dict[int, Owner]:
    """Return the owners of entries with a pod; the container is empty if there are several."""
    return {
        index: Owner(
            namespace=sanitize_text(pod.namespace or ""),
            pod=sanitize_text(pod.pod_name),
            container=sanitize_text(containers[0]) if len(containers) == 1 else "",
        )
        for index, pod in pods.items()
        if pod is not None and pod.pod_name
        for containers in [[name for name in pod.container_name or () if name]]
    }
