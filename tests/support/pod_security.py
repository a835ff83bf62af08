"""The Pod Security Standards of Kubernetes 1.34 (kubernetes.io, Pod Security Standards)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

_Spec = dict[str, Any]

_BASELINE_CAPABILITIES = {
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
}
_RESTRICTED_VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"),
    *("projected", "secret"),
}
_KNOWN = {
    *("allowPrivilegeEscalation", "capabilities", "fsGroup", "privileged"),
    *("readOnlyRootFilesystem", "runAsGroup", "runAsNonRoot", "runAsUser", "seccompProfile"),
}
"""Fields of security contexts that the checks below judge, or that no standard restricts."""


def strictest_level(pod: _Spec) -> str:
    """Return the strictest of the three levels that admits a pod."""
    if baseline_violations(pod):
        return "privileged"
    return "baseline" if restricted_violations(pod) else "restricted"


def baseline_violations(pod: _Spec) -> list[str]:
    """Return the reasons why the level `baseline` rejects a pod."""
    return list(_baseline(pod))


def restricted_violations(pod: _Spec) -> list[str]:
    """Return the reasons why the level `restricted` rejects a pod that `baseline` admits."""
    return list(_restricted(pod))


def _containers(pod: _Spec) -> Iterator[tuple[str, _Spec, _Spec]]:
    """Yield the name of each container, the container, and its security context."""
    for container in chain(pod["containers"], pod.get("initContainers", ())):
        yield container["name"], container, container.get("securityContext", {})


def _baseline(pod: _Spec) -> Iterator[str]:
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    yield from (f"hostPath {each['name']}" for each in pod.get("volumes", ()) if "hostPath" in each)
    contexts = [pod.get("securityContext", {}), *(context for _, _, context in _containers(pod))]
    for context in contexts:
        assert context.keys() <= _KNOWN, f"add a check for {context.keys() - _KNOWN}"
        if context.get("seccompProfile", {}).get("type") == "Unconfined":
            yield "seccompProfile Unconfined"
    for name, container, context in _containers(pod):
        if context.get("privileged"):
            yield f"{name}: privileged"
        added = set(context.get("capabilities", {}).get("add", ()))
        yield from (f"{name}: {each}" for each in sorted(added - _BASELINE_CAPABILITIES))
        if any("hostPort" in port for port in container.get("ports", ())):
            yield f"{name}: hostPort"
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            if container.get(probe, {}).get("httpGet", {}).get("host"):
                yield f"{name}: {probe}.httpGet.host"


def _restricted(pod: _Spec) -> Iterator[str]:
    for volume in pod.get("volumes", ()):
        yield from (f"volume {each}" for each in volume.keys() - {"name"} - _RESTRICTED_VOLUMES)
    for name, _, context in _containers(pod):
        merged = {**pod.get("securityContext", {}), **context}
        capabilities = merged.get("capabilities", {})
        if merged.get("allowPrivilegeEscalation") is not False:
            yield f"{name}: allowPrivilegeEscalation"
        if merged.get("runAsNonRoot") is not True or merged.get("runAsUser") == 0:
            yield f"{name}: runAsNonRoot"
        if merged.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{name}: seccompProfile"
        added = set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}
        if "ALL" not in capabilities.get("drop", ()) or added:
            yield f"{name}: capabilities"
