"""Providers of core owners by configuration and environment."""

from __future__ import annotations

from typing import Any

import pytest

from neuron_exporter.config import LoadedConfig, Override, load
from neuron_exporter.pipeline import owners as owner_factory

NOWHERE = "http://127.0.0.1:1"
POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}
TASK = {"ECS_CONTAINER_METADATA_URI_V4": NOWHERE}


@pytest.fixture(autouse=True)
def _no_kubernetes_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the kubelet of the machine that runs the tests."""
    monkeypatch.setattr(owner_factory, "DEFAULT_KUBELET_SOCKET", "/nonexistent/kubelet.sock")


def loaded(**identity: Any) -> LoadedConfig:
    """Load a configuration with these keys of `identity`."""
    return load(
        flags=[Override("test", f"identity.{key}", value) for key, value in identity.items()]
    )


def provider_names(environment: dict[str, str], **identity: Any) -> list[str]:
    """Return the names of the providers."""
    lookup = owner_factory.make_owner_lookup(loaded(**identity).config, environment)
    return [] if lookup is None else [*lookup.status()]


@pytest.mark.parametrize(
    ("environment", "identity", "names"),
    [
        ({}, {}, []),
        (TASK, {}, ["ECS"]),
        ({"NEURON_EXPORTER_ECS_AGENT": NOWHERE}, {}, ["ECS"]),
        (TASK, {"ecs": False}, []),
        (POD, {}, ["kubelet", "containers"]),
        ({"NEURON_EXPORTER_KUBELET_SOCKET": "/x"}, {}, ["kubelet", "containers"]),
        ({}, {"kubernetes": True}, ["kubelet", "containers"]),
        (POD, {"kubernetes": False}, []),
        (POD, {"pod_labels": ["team"]}, ["kubelet", "containers", "pod labels"]),
        ({**POD, **TASK}, {}, ["kubelet", "containers", "ECS"]),
        ({}, {"process_labels": {"job_id": "JOB"}}, ["process labels"]),
        (TASK, {"process_labels": {"job_id": "JOB"}}, ["ECS", "process labels"]),
    ],
)
def test_providers(environment: dict[str, str], identity: dict[str, Any], names: list[str]) -> None:
    assert provider_names(environment, **identity) == names


def test_no_lookup_for_simulated_reports() -> None:
    config = load(flags=[Override("test", "source.kind", "simulator")]).config
    assert owner_factory.make_owner_lookup(config, {**POD, **TASK}) is None


@pytest.mark.parametrize(
    ("identity", "problem"),
    [
        ({"ecs": False, "ecs_services": True}, "identity.ecs_services: needs identity.ecs"),
        ({"kubernetes": False, "pod_labels": ["a"]}, "identity.pod_labels: needs identity.kuber"),
    ],
)
def test_conflicting_settings_are_errors(identity: dict[str, Any], problem: str) -> None:
    (found,) = owner_factory.check_owners(loaded(**identity))
    assert problem in found


def test_pod_labels_outside_a_pod_are_a_warning() -> None:
    config = loaded(kubernetes=True, pod_labels=["team"])
    (warning,) = owner_factory.owner_warnings(config, {})
    assert "KUBERNETES_SERVICE_HOST is not set" in warning
