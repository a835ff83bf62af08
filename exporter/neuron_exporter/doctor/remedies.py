"""What to do in each state of the source, and about each group of a report with an error.

README shows the first of these tables; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping

from neuron_exporter.model import Group, SourceState

BY_STATE: Mapping[SourceState, str] = {
    SourceState.STARTING: "wait: neuron-monitor has a minute for its first report",
    SourceState.OK: "nothing",
    SourceState.MISSING_PROGRAM: (
        "install `aws-neuronx-tools`, or set `source.command`; it is looked for again"
    ),
    SourceState.NO_DRIVER: (
        "neuron-monitor runs and finds no device: driver installed, `/dev/neuron*` in the "
        "container?"
    ),
    SourceState.EXITED: (
        "the log has its last words; it is started again after 1 s, doubling up to 60 s"
    ),
    SourceState.STALLED: ("it was silent for three periods (at least 15 s) and is started again"),
    SourceState.GARBAGE: (
        "it prints lines that are no reports: is `source.command` neuron-monitor?"
    ),
    SourceState.PAUSED: "send SIGUSR1 again when the driver has been reset",
}

_JUST_HEARD: Mapping[SourceState, str] = {
    SourceState.EXITED: "its last words say why; see the driver and the devices below as well",
    SourceState.STALLED: "it may wait for the driver: see the driver and the devices below",
}
"""Where the program was run here and now, and no exporter runs that would start it again."""

_NO_DEVICE = "see what is said of the driver and of the devices"

_BY_GROUP: Mapping[str, str] = {
    Group.RUNTIME_VCPU_USAGE: (
        "the CPU shares of runtimes need the host's process ids: pidMode: host (ECS), "
        "hostPID: true (Kubernetes), --pid=host (Docker); everything else works without"
    ),
    Group.HW_COUNTERS: _NO_DEVICE,
    "neuron_hardware_info": _NO_DEVICE,
    "instance_info": (
        "neuron-monitor cannot reach the instance's metadata service; the exporter asks other "
        "places as well: see what is said of the identity"
    ),
    "neuron_k8s_info": "neuron-monitor cannot ask the kubelet which pod has which core",
}


def when_heard(state: SourceState) -> str:
    """What to do about a source that was listened to just now."""
    return _JUST_HEARD.get(state, BY_STATE[state])


def of_group(group: str) -> str:
    """What an error in a group of reports means for whoever reads the metrics."""
    return _BY_GROUP.get(
        group, "what this group would tell is absent while it has an error; the log has its text"
    )
