"""Who holds which core: what reports tell of it, and what everybody answers who is asked.

An empty label has one of four reasons: nobody is asked, who is asked does not answer, the answer
does not name the core, or the process is not to be seen. Each is a finding of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from neuron_exporter.doctor.context import Case
from neuron_exporter.doctor.finding import Finding, ok, skipped, warning
from neuron_exporter.doctor.remedies import of_group
from neuron_exporter.identity.owners import cgroup
from neuron_exporter.identity.owners.resolver import Told, merge
from neuron_exporter.metrics.owner_resolution import logical_cores
from neuron_exporter.model import Allocation
from neuron_exporter.pipeline import owners as ownership
from neuron_exporter.pipeline.cloudwatch import by_holder
from neuron_exporter.pipeline.identity import is_of_this_machine

SUBJECT = "owners"

_LABELS = ("pod", "namespace", "container", "task_family")
_MOST_NAMED = 5

_ADVICE: Mapping[str, str] = {
    "kubelet": "mount the host's /var/lib/kubelet/pod-resources as k8s/base does; the socket is "
    "root's, and the kubelet of this node listens there",
    "containers": "mount the host's /var/log/containers, and run with hostPID: true",
    "pod labels": "the service account must be mounted, and may get pods (core group, verb get)",
    "ECS": "task metadata needs agent 1.39 or newer; the agent's own endpoint is open to "
    "networkMode host only; services need identity.ecs_services and ecs:DescribeTasks",
}


_NOT_UNDERSTOOD = (
    "devices by Dynamic Resource Allocation, or with ids that are no numbers, name nobody: give "
    "pods aws.amazon.com/neuron or neuroncore by Neuron's device plugin, or go without their names"
)


def examine(case: Case) -> Iterator[Finding]:
    """See who is asked for owners, what he answers, and which processes nobody names."""
    yield _by_report(case)
    if not is_of_this_machine(case.config):
        return
    finder = ownership.make_owners_finder(case.config, case.environment)
    if finder is None:
        yield skipped(SUBJECT, "nobody is asked: this is neither a pod nor a task of ECS's agent")
        return
    pids = _processes(case)
    heard = []
    for place in finder.places:
        told = place.ask(pids)
        heard.append(told.owners)
        yield from _answer(place.name, told)
        if told.owners.allocation is not None:
            yield from _given(case, told.owners.allocation, told.seen or "nothing")
    owners = merge(heard)
    if finder.labels is not None:
        _, why = finder.labels.add(owners)
        yield from _answer(finder.labels.name, Told(why=why))
    if owners.task is None:  # else processes are the task's by its devices
        yield from _nobodys(pids - owners.by_pid.keys())


def _processes(case: Case) -> frozenset[int]:
    """The processes of the last report, or of the running exporter's series."""
    if case.report is not None:
        found = {each.pid for each in case.report.neuron_runtime_data or () if each is not None}
    elif case.exposed is not None:
        told = case.exposed.by("neuroncore_runtime_info", "pid")
        found = {int(pid) for pid in told if pid.isdecimal()}
    else:
        found = set()
    return frozenset(pid for pid in found if pid is not None)


def _by_report(case: Case) -> Finding:
    sent = case.config.cloudwatch
    wanted = sent.enabled and any(by_holder(sent))
    info = case.report.neuron_k8s_info if case.report is not None else None
    if info is not None:
        if info.error:
            return warning(SUBJECT, f"neuron_k8s_info: {info.error}", of_group("neuron_k8s_info"))
        cores = len(info.neuroncores_k8s_info or ())
        return ok(SUBJECT, f"neuron_k8s_info names the pods of {cores} cores")
    if case.exposed is not None and any(case.exposed.anywhere(label) for label in _LABELS):
        return ok(SUBJECT, "series of the running exporter name owners")
    seen = "reports name no pods (they have no neuron_k8s_info)"
    if not wanted or ownership.make_owners_finder(case.config, case.environment) is not None:
        return skipped(SUBJECT, seen)
    return warning(
        SUBJECT,
        f"{seen}, and a dimension set is by holder: it stays empty",
        "run in a pod or a task of ECS, where owners are asked for, or leave the set out",
    )


def _answer(name: str, told: Told) -> Iterator[Finding]:
    if told.why and told.owners.allocation is not None:
        yield warning(SUBJECT, f"{name}: {told.why}", _NOT_UNDERSTOOD)
    elif told.why:
        yield warning(SUBJECT, f"{name}: {told.why}", _ADVICE[name])
    elif told.owners.task is not None:
        owner, devices = told.owners.task
        whose = ", ".join(f"{label} {value}" for label, value in owner.labels())
        yield ok(SUBJECT, f"{name}: our {len(devices)} devices are those of {whose}")
    else:
        count = len(told.owners.by_pid)
        yield ok(SUBJECT, f"{name}: answered" + (f", names {count} processes" if count else ""))


def _given(case: Case, allocation: Allocation, seen: str) -> Iterator[Finding]:
    """What the kubelet gave to pods, and whether its numbers can be read."""
    cores, devices = len(allocation.cores), len(allocation.devices)
    if not cores and not devices and not allocation.is_whole:
        return  # what was given was not understood, and that is said
    if not cores and not devices:
        yield warning(
            SUBJECT,
            f"kubelet: no pod was given a Neuron core or device (pods have {seen})",
            "if one should have some: its limits must name aws.amazon.com/neuron or neuroncore, "
            "and Neuron's device plugin must run on this node (`kubectl describe node` shows what "
            "it offers)",
        )
        return
    yield ok(SUBJECT, f"kubelet: gave {cores} cores and {devices} devices to pods ({seen})")
    counts = [
        case.reported(label)
        for label in (
            "neuron_device_count",
            "neuroncore_per_device_count",
            "logical_neuroncore_config",
        )
    ]
    counted, each, size = (int(count) if count.isdecimal() else None for count in counts)
    if counted and logical_cores(allocation, counted, each, size or 1) is None:
        yield warning(
            SUBJECT,
            f"kubelet: the numbers of cores ({_some({*allocation.cores})}) may be those of logical "
            "or of physical cores, and name nobody",
            "give pods whole devices (aws.amazon.com/neuron), or update the device plugin: it does "
            "not say which cores it can give",
        )


def _nobodys(pids: Set[int]) -> Iterator[Finding]:
    """Why processes have no owner."""
    hidden: set[int] = set()
    outside: set[int] = set()
    strangers: set[int] = set()
    for pid in pids:
        try:
            found = cgroup.of_process(pid)
        except cgroup.Gone:
            hidden.add(pid)
        else:
            (outside if found is None else strangers).add(pid)
    if hidden:
        yield warning(
            SUBJECT,
            f"processes {_some(hidden)} are not to be seen from here: their owners are those of "
            "the cores that they hold, if one has them all",
            "share the host's process ids (hostPID: true, pidMode: host) to name each process",
        )
    if outside:
        yield warning(
            SUBJECT,
            f"processes {_some(outside)} run in no container that is known by its cgroup",
            "what runs beside containers has no owner; else report its /proc/PID/cgroup",
        )
    if strangers:
        yield warning(
            SUBJECT,
            f"processes {_some(strangers)} run in containers that nobody knows",
            "see the answers above: who knows containers did not answer, or they are of another "
            "runtime's than the cluster's",
        )


def _some(numbers: Set[int]) -> str:
    shown = ", ".join(map(str, sorted(numbers)[:_MOST_NAMED]))
    return (
        shown if len(numbers) <= _MOST_NAMED else f"{shown} and {len(numbers) - _MOST_NAMED} more"
    )
