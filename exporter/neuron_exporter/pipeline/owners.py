"""Build the lookup of core owners, and check its configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from neuron_exporter.config import LoadedConfig
from neuron_exporter.config.schema import Config
from neuron_exporter.identity import ecs_task
from neuron_exporter.identity.owners.container_logs import ContainerLogProvider
from neuron_exporter.identity.owners.ecs import AGENT, EcsOwnerProvider
from neuron_exporter.identity.owners.lookup import OwnerLookup, OwnerProvider
from neuron_exporter.identity.owners.pod_labels import PodLabelProvider
from neuron_exporter.identity.owners.process_labels import ProcessLabelProvider
from neuron_exporter.pipeline.identity import is_local_source

ECS_AGENT_VARIABLE = "NEURON_EXPORTER_ECS_AGENT"
"""Variable with the address of the ECS agent's introspection endpoint. Needed if that is not the
default one, or if the exporter does not run in an ECS task."""

KUBELET_SOCKET_VARIABLE = "NEURON_EXPORTER_KUBELET_SOCKET"
"""Variable with the path of the kubelet's pod-resources socket, if it is not the default one."""

DEFAULT_KUBELET_SOCKET = "/var/lib/kubelet/pod-resources/kubelet.sock"
"""Path of the kubelet's pod-resources socket (kubernetes.io, Device Plugins)."""

_KUBERNETES_API_HOST = "KUBERNETES_SERVICE_HOST"


def make_owner_lookup(config: Config, environment: Mapping[str, str]) -> OwnerLookup | None:
    """Build the lookup of core owners; None if there is no provider."""
    if not is_local_source(config):
        return None
    providers = [*_kubernetes(config, environment), *_ecs(config, environment)]
    variables = config.identity.process_labels
    process_labels = ProcessLabelProvider(variables) if variables else None
    if not (providers or process_labels):
        return None
    return OwnerLookup(providers, _pod_labels(config, environment), process_labels)


def check_owners(loaded: LoadedConfig) -> Iterable[str]:
    """Return the errors of the settings for owners."""
    settings = loaded.config.identity
    if settings.ecs_services and not settings.ecs:
        yield loaded.problem("identity.ecs_services", "needs identity.ecs", True)
    if settings.kubernetes is True and (reason := _why_no_kubelet_client()):
        yield loaded.problem("identity.kubernetes", reason, True)
    if settings.pod_labels and settings.kubernetes is False:
        yield loaded.problem(
            "identity.pod_labels", "needs identity.kubernetes", settings.pod_labels
        )


def owner_warnings(loaded: LoadedConfig, environment: Mapping[str, str]) -> Iterable[str]:
    """Return a line for each setting that has no effect here."""
    config = loaded.config
    if not is_local_source(config) or not _in_kubernetes(config, environment):
        return
    if reason := _why_no_kubelet_client():
        yield loaded.problem("identity.kubernetes", f"cores get no pod labels: it {reason}")
    if config.identity.pod_labels and _KUBERNETES_API_HOST not in environment:
        reason = f"{_KUBERNETES_API_HOST} is not set: the exporter does not run in a pod"
        yield loaded.problem("identity.pod_labels", reason)


def _in_kubernetes(config: Config, environment: Mapping[str, str]) -> bool:
    if config.identity.kubernetes != "auto":
        return bool(config.identity.kubernetes)
    return (
        _KUBERNETES_API_HOST in environment
        or KUBELET_SOCKET_VARIABLE in environment
        or os.path.isdir(os.path.dirname(DEFAULT_KUBELET_SOCKET))
    )


def _kubernetes(config: Config, environment: Mapping[str, str]) -> Iterable[OwnerProvider]:
    if not _in_kubernetes(config, environment):
        return
    if not _why_no_kubelet_client():
        from neuron_exporter.identity.owners.kubelet import KubeletOwnerProvider

        socket = environment.get(KUBELET_SOCKET_VARIABLE, "").strip()
        yield KubeletOwnerProvider(socket or DEFAULT_KUBELET_SOCKET)
    yield ContainerLogProvider()


def _pod_labels(config: Config, environment: Mapping[str, str]) -> PodLabelProvider | None:
    host = environment.get(_KUBERNETES_API_HOST, "")
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not (host and config.identity.pod_labels and _in_kubernetes(config, environment)):
        return None
    return PodLabelProvider(
        config.identity.pod_labels, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    )


def _ecs(config: Config, environment: Mapping[str, str]) -> Iterable[OwnerProvider]:
    task_endpoint = ecs_task.endpoint(environment)
    agent = environment.get(ECS_AGENT_VARIABLE, "").strip()
    if not (config.identity.ecs and (task_endpoint or agent)):
        return
    services = None
    if config.identity.ecs_services:
        # Imported only if needed: botocore costs 20 MiB of memory.
        from neuron_exporter.identity.owners.ecs_services import EcsServiceProvider

        services = EcsServiceProvider()
    yield EcsOwnerProvider(task_endpoint, agent or AGENT, services)


def _why_no_kubelet_client() -> str:
    """Return the reason why the kubelet cannot be queried; empty if it can."""
    try:
        # Imported only if needed: it costs 4 MiB of memory.
        import neuron_exporter.identity.owners.kubelet  # noqa: F401
    except ImportError:
        return "needs the extra `kubernetes` (pip install 'neuron-exporter[kubernetes]')"
    except Exception as error:  # noqa: BLE001 (protobuf may reject the generated code)
        return f"cannot be used: {error}"
    return ""
