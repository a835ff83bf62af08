"""What to do in each state of the source, and about each report group with an error.

docs/doctor.md shows the first table; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping

from neuron_exporter.model import Group, SourceState

BY_STATE: Mapping[SourceState, str] = {
    SourceState.STARTING: (
        "wait: neuron-monitor has one minute, or three periods if that is longer, to send its "
        "first report"
    ),
    SourceState.OK: "nothing",
    SourceState.MISSING_PROGRAM: (
        "install `aws-neuronx-tools` or set `source.command`; the exporter keeps looking for the "
        "program"
    ),
    SourceState.NO_DRIVER: (
        "neuron-monitor runs but finds no device: check that the driver is loaded and "
        "`/dev/neuron*` is in the container"
    ),
    SourceState.EXITED: (
        "read its last stderr line in the log; the exporter restarts it after 1 s, doubling up to "
        "60 s"
    ),
    SourceState.STALLED: (
        "it sent nothing for three periods (at least 15 s); the exporter restarts it"
    ),
    SourceState.GARBAGE: (
        "its output contains no reports: check that `source.command` runs neuron-monitor"
    ),
    SourceState.PAUSED: "send SIGUSR1 again when the driver has been reset",
}

AS_EXPORTER = "run the doctor as the user of the exporter, or as root"

IN_ENVIRONMENT = (
    "run the doctor in the environment of the exporter (docker exec, kubectl exec; systemd: "
    "systemctl show -p Environment)"
)
"""What to do where the doctor sees other variables, files or permissions than the exporter."""

_IN_DOCTOR: Mapping[SourceState, str] = {
    SourceState.EXITED: (
        "its last stderr line has the reason; check the driver and device lines below as well"
    ),
    SourceState.STALLED: "it may be waiting for the driver: check the lines on it below",
}
"""Where the doctor itself ran the program, so that no exporter restarts it."""

_CHECK_DEVICES = "check the driver and device lines"

_BY_GROUP: Mapping[str, str] = {
    Group.RUNTIME_VCPU_USAGE: (
        "the CPU usage of runtimes needs the host's process ids: pidMode: host (ECS), "
        "hostPID: true (Kubernetes), --pid=host (Docker); all other metrics work without"
    ),
    Group.HW_COUNTERS: _CHECK_DEVICES,
    "neuron_hardware_info": _CHECK_DEVICES,
    "instance_info": (
        "neuron-monitor cannot reach the instance metadata service; the exporter has other "
        "providers: check the identity lines"
    ),
    "neuron_k8s_info": "neuron-monitor cannot query the kubelet for the owners of cores",
}


def for_sampled_state(state: SourceState) -> str:
    """Return what to do about a source that the doctor has just run."""
    return _IN_DOCTOR.get(state, BY_STATE[state])


def for_group(group: str) -> str:
    """Return what to do about an error in a report group."""
    return _BY_GROUP.get(
        group, "metrics of this group are absent while it has an error; the log has the error text"
    )
