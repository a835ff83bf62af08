"""Labels of pods, from the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from neuron_exporter.identity.owners.pod_labels import MAX_LABELS, PodLabelProvider
from neuron_exporter.model import Allocation, Owner, Owners
from tests.support.certificates import CertificateAuthority
from tests.support.kubernetes_api import KubernetesApi, kubernetes_api

TRAIN = Owner(namespace="ml", pod="train-0", container="main")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubernetesApi]:
    """Run an API with one pod."""
    with kubernetes_api(tmp_path) as api:
        api.labels["train-0"] = {
            "team": "vision",
            "app.kubernetes.io/name": "resnet",
            "controller-revision-hash": "abc",
        }
        yield api


OWNERS = Owners(
    by_pid={7: TRAIN}, allocation=Allocation({0: TRAIN}, {3: Owner(namespace="ml", pod="gone")})
)


def test_selected_labels(api: KubernetesApi) -> None:
    """Label names are sanitized as kube-state-metrics does; a deleted pod has none."""
    labels = PodLabelProvider(["team", "app.kubernetes.io/*"], api.address, api.account)
    owners, error = labels.add_labels(OWNERS)
    assert error == ""
    expected = (("label_app_kubernetes_io_name", "resnet"), ("label_team", "vision"))
    assert owners.by_pid[7].labels() == (*TRAIN.labels(), *expected)
    assert owners.allocation is not None
    assert owners.allocation.cores[0].pod_labels == expected
    assert owners.allocation.devices[3].pod_labels == ()
    assert sorted(api.requests) == [
        "/api/v1/namespaces/ml/pods/gone",
        "/api/v1/namespaces/ml/pods/train-0",
    ]


def test_only_owners_change(api: KubernetesApi) -> None:
    """All that is known about the allocation besides its owners stays."""
    labels = PodLabelProvider(["team"], api.address, api.account)
    allocation = Allocation({0: TRAIN}, {}, highest_core=31, is_complete=False)
    labelled, _ = labels.add_labels(replace(OWNERS, allocation=allocation))
    owner = replace(TRAIN, pod_labels=(("label_team", "vision"),))
    assert labelled == replace(
        OWNERS, by_pid={7: owner}, allocation=allocation._replace(cores={0: owner})
    )


def test_labels_are_cached(api: KubernetesApi) -> None:
    """Labels of a pod are requested every five minutes."""
    now = [0.0]
    labels = PodLabelProvider(["team"], api.address, api.account, clock=lambda: now[0])
    for _ in range(10):
        labels.add_labels(OWNERS)
    assert len(api.requests) == 2
    api.labels["train-0"] = {"team": "speech"}
    now[0] += 300
    owners, _ = labels.add_labels(OWNERS)
    assert owners.by_pid[7].pod_labels == (("label_team", "speech"),)


@pytest.mark.parametrize(
    ("status", "message"), [(403, "HTTP status 403"), (500, "HTTP status 500")]
)
def test_api_error(api: KubernetesApi, status: int, message: str) -> None:
    """Owners stay without labels, and the request is repeated after 30 seconds."""
    now = [0.0]
    labels = PodLabelProvider(["team"], api.address, api.account, clock=lambda: now[0])
    api.status = status
    owners, error = labels.add_labels(OWNERS)
    assert (owners.by_pid, message in error) == (OWNERS.by_pid, True)
    labels.add_labels(OWNERS)
    assert len(api.requests) == 1
    api.status = 0
    now[0] += 30
    assert labels.add_labels(OWNERS)[1] == ""


def test_connection_errors(api: KubernetesApi, tmp_path: Path) -> None:
    def error(address: str, account: Path) -> str:
        return PodLabelProvider(["*"], address, account).add_labels(OWNERS)[1]

    assert "Connection refused" in error("127.0.0.1:1", api.account)
    assert "No such file" in error(api.address, tmp_path / "none")
    other = tmp_path / "other"
    other.mkdir()
    CertificateAuthority(other, "ca").file.rename(other / "ca.crt")
    (other / "token").write_text("secret")
    assert "CERTIFICATE_VERIFY_FAILED" in error(api.address, other)


def test_number_of_labels_is_limited(api: KubernetesApi) -> None:
    api.labels["train-0"] = {**{f"l{n}": "x" for n in range(100)}, "empty": "", "number": 7}
    owners, _ = PodLabelProvider(["*"], api.address, api.account).add_labels(OWNERS)
    assert len(owners.by_pid[7].pod_labels) == MAX_LABELS
