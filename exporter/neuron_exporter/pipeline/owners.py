"""From a configuration to who asks whose cores are, or to what is wrong with the wish."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from neuron_exporter.config import Loaded
from neuron_exporter.config.schema import Config
from neuron_exporter.identity import ecs_task as ecs
from neuron_exporter.identity.owners.container_logs import PodsByContainer
from neuron_exporter.identity.owners.ecs import AGENT, EcsOwners
from neuron_exporter.identity.owners.pod_labels import PodLabels
from neuron_exporter.identity.owners.resolver import OwnersFinder, Place
from neuron_exporter.pipeline.identity import is_of_this_machine

ECS_AGENT = "NEURON_EXPORTER_ECS_AGENT"
"""The variable that holds the address of the agent's introspection endpoint, where it is not the
usual one, or where we run in no task."""

KUBELET = "NEURON_EXPORTER_KUBELET_SOCKET"
"""The variable that holds the path of the kubelet's pod-resources socket, where it is another."""

SOCKET = "/var/lib/kubelet/pod-resources/kubelet.sock"
"""Where the kubelet listens (kubernetes.io, Device Plugins)."""

_API = "KUBERNETES_SERVICE_HOST"


def make_owners_finder(config: Config, environment: Mapping[str, str]) -> OwnersFinder | None:
    """Who asks whose cores are; None where nobody could tell."""
    if not is_of_this_machine(config):
        return None
    places = [*_kubernetes(config, environment), *_ecs(config, environment)]
    return OwnersFinder(places, _pod_labels(config, environment)) if places else None


def check(loaded: Loaded) -> Iterable[str]:
    """Everything that cannot be done."""
    wanted = loaded.config.identity
    if wanted.ecs_services and not wanted.ecs:
        yield loaded.problem("identity.ecs_services", "needs identity.ecs", True)
    if wanted.kubernetes is True and (why := _why_no_grpc()):
        yield loaded.problem("identity.kubernetes", why, True)
    if wanted.pod_labels and wanted.kubernetes is False:
        yield loaded.problem("identity.pod_labels", "needs identity.kubernetes", wanted.pod_labels)


def warnings(loaded: Loaded, environment: Mapping[str, str]) -> Iterable[str]:
    """Everything that is gone without."""
    config = loaded.config
    if not is_of_this_machine(config) or not _in_kubernetes(config, environment):
        return
    if why := _why_no_grpc():
        yield loaded.problem("identity.kubernetes", f"the pods of cores are not known: it {why}")
    if config.identity.pod_labels and _API not in environment:
        yield loaded.problem("identity.pod_labels", f"{_API} is not set: we run in no pod")


def _in_kubernetes(config: Config, environment: Mapping[str, str]) -> bool:
    wanted = config.identity.kubernetes
    if wanted != "auto":
        return bool(wanted)
    return _API in environment or KUBELET in environment or Path(SOCKET).parent.exists()


def _kubernetes(config: Config, environment: Mapping[str, str]) -> Iterable[Place]:
    if not _in_kubernetes(config, environment):
        return
    if not _why_no_grpc():
        from neuron_exporter.identity.owners.kubelet import KubeletOwners

        yield KubeletOwners(environment.get(KUBELET, "").strip() or SOCKET)
    yield PodsByContainer()


def _pod_labels(config: Config, environment: Mapping[str, str]) -> PodLabels | None:
    host, port = environment.get(_API, ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not (host and config.identity.pod_labels and _in_kubernetes(config, environment)):
        return None
    return PodLabels(
        config.identity.pod_labels, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    )


def _ecs(config: Config, environment: Mapping[str, str]) -> Iterable[Place]:
    base, agent = ecs.endpoint(environment), environment.get(ECS_AGENT, "").strip()
    if not (config.identity.ecs and (base or agent)):
        return
    services = None
    if config.identity.ecs_services:
        # botocore is 20 MiB that only those pay who want them.
        from neuron_exporter.identity.owners.ecs_services import DescribedServices

        services = DescribedServices()
    yield EcsOwners(base, agent or AGENT, services)


def _why_no_grpc() -> str:
    """Why the kubelet cannot be asked; empty where it can."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what fails is said by us, once
    try:
        import neuron_exporter.identity.owners.kubelet  # noqa: F401 (26 MiB: only those pay who have a kubelet)
    except ImportError:
        return "needs the extra `kubernetes` (pip install 'neuron-exporter[kubernetes]')"
    except Exception as error:  # noqa: BLE001 (protobuf refuses to work with another version)
        return f"cannot be used: {error}"
    return ""
