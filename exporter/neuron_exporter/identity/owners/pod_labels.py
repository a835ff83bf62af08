"""Labels of pods, read from the Kubernetes API with the service account of our own pod."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from neuron_exporter.identity.fields import parse_text
from neuron_exporter.model import Labels, Owner, Owners
from neuron_exporter.text import MAX_LENGTH

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Token and CA of the service account (kubernetes.io, Accessing the API from a Pod)."""

TIMEOUT = 1.0
"""Seconds for all requests of one round; the remaining pods follow in the next."""

MAX_LABELS = 16
"""Maximum number of labels of one pod that become metric labels."""

_MAX_AGE = 300.0  # labels of a running pod may change
_RETRY_SECONDS = 30.0
_MAX_BODY_BYTES = 1 << 20
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_INVALID = re.compile(r"[^A-Za-z0-9_]")

_Pod = tuple[str, str]


class PodLabelProvider:
    """Provider of pod labels whose names match a pattern. Requests each pod every 5 minutes."""

    name = "pod labels"

    def __init__(
        self,
        patterns: Iterable[str],
        address: str,
        account: Path = ACCOUNT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patterns = tuple(patterns)
        self._address = address
        self._account = account
        self._clock = clock
        self._labels: dict[_Pod, tuple[float, Labels]] = {}
        self._next_attempt = 0.0
        self._error = ""

    def add_labels(self, owners: Owners) -> tuple[Owners, str]:
        """Return the owners with their pods' labels, and an error message if some are missing."""
        pods = {(each.namespace, each.pod): None for each in _all(owners) if each.pod}
        self._labels = {pod: known for pod, known in self._labels.items() if pod in pods}
        now = self._clock()
        old = [pod for pod in pods if now - self._labels.get(pod, (-_MAX_AGE, ()))[0] >= _MAX_AGE]
        if old and now >= self._next_attempt:
            self._refresh(old, now)
        labels = {pod: found for pod, (_, found) in self._labels.items()}
        return _with_labels(owners, labels), self._error

    def _refresh(self, pods: Iterable[_Pod], now: float) -> None:
        self._error = ""
        deadline = time.monotonic() + TIMEOUT
        try:
            tls = ssl.create_default_context(cadata=(self._account / "ca.crt").read_text())
            token = (self._account / "token").read_text().strip()
            connection = http.client.HTTPSConnection(self._address, timeout=TIMEOUT, context=tls)
            try:
                for pod in pods:
                    if time.monotonic() > deadline:
                        break
                    self._labels[pod] = now, self._select(_request(connection, token, *pod))
            finally:
                connection.close()
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            self._next_attempt = now + _RETRY_SECONDS
            place = getattr(error, "filename", None) or f"https://{self._address}"
            reason = getattr(error, "strerror", None) or parse_text(str(error))
            self._error = f"{place}: {reason or type(error).__name__}"

    def _select(self, labels: Mapping[str, str]) -> Labels:
        selected: dict[str, str] = {}
        for name, value in sorted(labels.items()):
            if value and any(fnmatchcase(name, pattern) for pattern in self._patterns):
                label = f"label_{_INVALID.sub('_', name)}"[:MAX_LENGTH]
                selected.setdefault(label, parse_text(value))
        return tuple(selected.items())[:MAX_LABELS]


def _request(
    connection: http.client.HTTPSConnection, token: str, namespace: str, pod: str
) -> Mapping[str, str]:
    """Return the labels of a pod; none if it has just ended."""
    headers = {"Accept": _METADATA, "Authorization": f"Bearer {token}"}
    connection.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}", headers=headers)
    with connection.getresponse() as response:
        body = response.read(_MAX_BODY_BYTES)
    if response.status == 404:
        return {}
    if response.status != 200:
        raise ValueError(f"HTTP status {response.status} {response.reason}")
    document = json.loads(body)
    metadata = document.get("metadata") if isinstance(document, dict) else None
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return {
        name: value
        for name, value in (labels.items() if isinstance(labels, dict) else ())
        if isinstance(value, str)
    }


def _all(owners: Owners) -> Iterable[Owner]:
    yield from owners.by_pid.values()
    if owners.allocation is not None:
        yield from owners.allocation.cores.values()
        yield from owners.allocation.devices.values()


def _with_labels(owners: Owners, labels: Mapping[_Pod, Labels]) -> Owners:
    def labelled(owner: Owner) -> Owner:
        pod_labels = labels.get((owner.namespace, owner.pod))
        return replace(owner, pod_labels=pod_labels) if pod_labels else owner

    allocation = owners.allocation
    return replace(
        owners,
        by_pid={pid: labelled(owner) for pid, owner in owners.by_pid.items()},
        allocation=allocation
        and allocation._replace(
            cores={core: labelled(owner) for core, owner in allocation.cores.items()},
            devices={device: labelled(owner) for device, owner in allocation.devices.items()},
        ),
    )
