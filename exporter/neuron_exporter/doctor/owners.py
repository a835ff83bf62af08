"""Check the owners of cores: what reports contain, and what each owner provider returns.

An owner label is empty for one of four reasons: there is no provider, the provider does not answer,
its answer does not name the core, or the process is not visible. Each is a finding of its own.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set

from neuron_exporter.doctor.context import Context
from neuron_exporter.doctor.finding import Finding, Subject, describe, format_names
from neuron_exporter.doctor.remedies import for_group
from neuron_exporter.identity.owners import cgroup
from neuron_exporter.identity.owners.lookup import OwnersResult, merge
from neuron_exporter.metrics.owner_resolution import logical_cores
from neuron_exporter.model import Allocation
from neuron_exporter.pipeline.cloudwatch import owner_dimensions_by_set
from neuron_exporter.pipeline.identity import is_local_source
from neuron_exporter.pipeline.owners import DEFAULT_KUBELET_SOCKET, make_owner_lookup

SUBJECT = Subject("owners")

_LABELS = ("pod", "namespace", "container", "task_family")
_COUNTS = ("neuron_device_count", "neuroncore_per_device_count", "logical_neuroncore_config")

_FIXES: Mapping[str, str] = {
    "kubelet": "mount the host's /var/lib/kubelet/pod-resources as k8s/base does, and run as root, "
    "which owns the socket",
    "containers": "mount the host's /var/log/containers, and set hostPID: true",
    "pod labels": "mount the service account, and allow it to read pods (core group, verb get)",
    "process labels": "share the host's process ids (hostPID: true, pidMode: host), and for "
    "processes of other users give the exporter CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH "
    "(docs/jobs.md)",
    "ECS": "task metadata needs agent 1.39 or newer; the agent's own endpoint needs networkMode: "
    "host; services need identity.ecs_services and ecs:DescribeTasks",
}

_ALLOCATION_NOT_UNDERSTOOD = (
    "their cores have no pod labels, and neuroncore_allocated is not published. Known are numbers "
    "(Neuron's device plugin) and names like neuron-device-2 (its DRA driver): report others as a "
    "bug"
)

_NO_VARIABLE = (
    "a variable is seen only if the process was started with it (docs/jobs.md); processes that no "
    "scheduler started have none"
)

_HIDDEN = (
    "are not visible here: each gets the owner of its cores if all of them have the same one",
    "share the host's process ids (hostPID: true, pidMode: host) to attribute each process",
)
_OUTSIDE = (
    "have a cgroup of no known container",
    "processes outside containers have no owner; otherwise report this as a bug, with "
    "/proc/PID/cgroup",
)
_UNKNOWN = (
    "run in containers that no provider knows",
    "check the answers above: a provider did not answer, or the containers belong to another "
    "container runtime",
)
"""Why a process has no owner, and what to do."""


def check(context: Context) -> Iterator[Finding]:
    """Query each owner provider, and report its answer and the processes without an owner."""
    yield _by_report(context)
    if not is_local_source(context.config):
        return
    lookup = make_owner_lookup(context.config, context.environment)
    if lookup is None:
        yield _no_provider(context)
        return
    pids = _processes(context)
    results = []
    for provider in lookup.providers:
        result = provider.lookup(pids)
        results.append(result.owners)
        yield from _answer(provider.name, result)
        if (allocation := result.owners.allocation) is not None:
            yield from _allocation(context, allocation, result.resources or "none")
    owners = merge(results)
    if lookup.label_provider is not None:
        _, error = lookup.label_provider.add_labels(owners)
        yield from _answer(lookup.label_provider.name, OwnersResult(error=error))
    # A task owns all processes that use its devices.
    if owners.task is None and lookup.finds_owners:
        yield from _unattributed(pids - owners.by_pid.keys())


def _no_provider(context: Context) -> Finding:
    if context.config.identity.kubernetes == "auto":
        try:
            os.stat(os.path.dirname(DEFAULT_KUBELET_SOCKET))
        except PermissionError as error:
            return SUBJECT.warning(
                f"the kubelet is not asked: {describe(error)}", _FIXES["kubelet"]
            )
        except OSError:
            pass  # no kubelet has this folder here
    return SUBJECT.skipped("no owner provider: this is neither a pod nor an ECS task")


def _processes(context: Context) -> frozenset[int]:
    """Return the processes of the last report, or of the running exporter's series."""
    if context.report is not None:
        found = {each.pid for each in context.report.neuron_runtime_data or () if each is not None}
    elif context.scraped is not None:
        pids = context.scraped.values_by("neuroncore_runtime_info", "pid")
        found = {int(pid) for pid in pids if pid.isdecimal()}
    else:
        found = set()
    return frozenset(pid for pid in found if pid is not None)


def _by_report(context: Context) -> Finding:
    config = context.config
    has_owner_dimensions = config.cloudwatch.enabled and any(owner_dimensions_by_set(config))
    info = context.report.neuron_k8s_info if context.report is not None else None
    if info is not None:
        if info.error:
            return SUBJECT.warning(f"neuron_k8s_info: {info.error}", for_group("neuron_k8s_info"))
        cores = len(info.neuroncores_k8s_info or ())
        return SUBJECT.ok(f"neuron_k8s_info has the pods of {cores} cores")
    if context.scraped is not None and any(context.scraped.any_label(label) for label in _LABELS):
        return SUBJECT.ok("series of the running exporter have owner labels")
    seen = "reports do not name pods (they have no neuron_k8s_info)"
    has_provider = make_owner_lookup(context.config, context.environment) is not None
    if has_provider or not has_owner_dimensions:
        return SUBJECT.skipped(seen)
    return SUBJECT.warning(
        f"{seen}, and a dimension set needs owners: nothing is published in it",
        "run in a pod or an ECS task, which have owner providers, or remove the set",
    )


def _answer(name: str, result: OwnersResult) -> Iterator[Finding]:
    if result.error:
        is_partial = result.owners.allocation is not None
        fix = _ALLOCATION_NOT_UNDERSTOOD if is_partial else _FIXES[name]
        yield SUBJECT.warning(f"{name}: {result.error}", fix)
    elif result.owners.task is not None:
        owner, devices = result.owners.task
        labels = ", ".join(f"{label} {value}" for label, value in owner.labels())
        yield SUBJECT.ok(f"{name}: the {len(devices)} devices here belong to {labels}")
    elif (by_process := result.owners.process_labels) is not None:
        number = sum(map(bool, by_process.values()))
        seen = f"{name}: {number} of {len(by_process)} processes have some"
        is_missing = by_process and not number
        yield SUBJECT.warning(seen, _NO_VARIABLE) if is_missing else SUBJECT.ok(seen)
    else:
        count = len(result.owners.by_pid)
        found = f", with the owners of {count} processes" if count else ""
        yield SUBJECT.ok(f"{name}: answered{found}")


def _allocation(context: Context, allocation: Allocation, resources: str) -> Iterator[Finding]:
    """Report what the kubelet allocated to pods, and whether its core numbers are unambiguous."""
    cores, devices = len(allocation.cores), len(allocation.devices)
    if not cores and not devices and not allocation.is_complete:
        return  # the answer was not understood, which is a finding of its own
    if not cores and not devices:
        yield SUBJECT.warning(
            f"kubelet: no pod has a Neuron core or device (pods have {resources})",
            "a pod that needs one must set aws.amazon.com/neuron or neuroncore in its limits, or "
            "claim devices of the class neuron.aws.com; Neuron's device plugin or its DRA driver "
            "must run on this node (`kubectl describe node` and `kubectl get resourceslices` list "
            "what they offer)",
        )
        return
    yield SUBJECT.ok(f"kubelet: pods have {cores} cores and {devices} devices ({resources})")
    counts = [context.hardware_info(label) for label in _COUNTS]
    number, per_device, size = (int(count) if count.isdecimal() else None for count in counts)
    if number and logical_cores(allocation, number * (per_device or 0), size or 1) is None:
        numbers = format_names(sorted({*allocation.cores}))
        yield SUBJECT.warning(
            f"kubelet: the core numbers ({numbers}) may be logical or physical cores, so they name "
            "no owner",
            "allocate whole devices to pods (aws.amazon.com/neuron), or update the device plugin: "
            "it does not report which cores it can allocate",
        )


def _unattributed(pids: Set[int]) -> Iterator[Finding]:
    """Report why processes have no owner."""
    by_reason = defaultdict(set)
    for pid in pids:
        try:
            reason = _OUTSIDE if cgroup.container_of(pid) is None else _UNKNOWN
        except cgroup.ProcessUnavailable:
            reason = _HIDDEN
        by_reason[reason].add(pid)
    for seen, fix in (_HIDDEN, _OUTSIDE, _UNKNOWN):
        if found := by_reason[seen, fix]:
            yield SUBJECT.warning(f"processes {format_names(sorted(found))} {seen}", fix)
