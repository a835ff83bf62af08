"""Labels of pods, as the Kubernetes API tells them to the service account of our own pod."""

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

from neuron_exporter.identity.fields import text
from neuron_exporter.model import Allocation, Labels, Owner, Owners

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Token and authority of the service account (kubernetes.io, Accessing the API from a Pod)."""

SECONDS = 1.0
"""All questions of a round; what is left waits for the next."""

MOST_LABELS = 16
"""Labels of a pod that become ours."""

_KEPT = 300.0  # a pod's labels may change while it lives
_PAUSE = 30.0  # after a failure
_LONGEST = 1 << 20
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_UNFIT = re.compile(r"[^A-Za-z0-9_]")

_Pod = tuple[str, str]


class PodLabels:
    """Adds labels to owners, those whose names match a pattern. Asks for each pod once in a while:
    one that is not known yet stays without."""

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
        self._known: dict[_Pod, tuple[float, Labels]] = {}
        self._not_before = 0.0
        self._why = ""

    def add(self, owners: Owners) -> tuple[Owners, str]:
        """The owners with their pods' labels; and why some could not be told."""
        pods = {(each.namespace, each.pod): None for each in _all(owners) if each.pod}
        self._known = {pod: known for pod, known in self._known.items() if pod in pods}
        now = self._clock()
        old = [pod for pod in pods if now - self._known.get(pod, (-_KEPT, ()))[0] >= _KEPT]
        if old and now >= self._not_before:
            self._ask(old, now)
        return _with(owners, {pod: labels for pod, (_, labels) in self._known.items()}), self._why

    def _ask(self, pods: Iterable[_Pod], now: float) -> None:
        self._why = ""
        until = time.monotonic() + SECONDS
        try:
            tls = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
            token = (self._account / "token").read_text().strip()
            connection = http.client.HTTPSConnection(self._address, timeout=SECONDS, context=tls)
            try:
                for pod in pods:
                    if time.monotonic() > until:
                        break
                    self._known[pod] = now, self._chosen(_labels(connection, token, *pod))
            finally:
                connection.close()
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            self._not_before = now + _PAUSE
            self._why = f"https://{self._address}: {text(str(error)) or type(error).__name__}"

    def _chosen(self, labels: Mapping[str, str]) -> Labels:
        chosen: dict[str, str] = {}
        for name, value in sorted(labels.items()):
            if value and any(fnmatchcase(name, pattern) for pattern in self._patterns):
                chosen.setdefault(f"label_{_UNFIT.sub('_', name)}", text(value))
        return tuple(chosen.items())[:MOST_LABELS]


def _labels(
    connection: http.client.HTTPSConnection, token: str, namespace: str, pod: str
) -> Mapping[str, str]:
    headers = {"Accept": _METADATA, "Authorization": f"Bearer {token}"}
    connection.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}", headers=headers)
    with connection.getresponse() as response:
        body = response.read(_LONGEST)
    if response.status == 404:
        return {}  # it has just ended
    if response.status != 200:
        raise ValueError(f"the answer was {response.status} {response.reason}")
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


def _with(owners: Owners, labels: Mapping[_Pod, Labels]) -> Owners:
    def labelled(owner: Owner) -> Owner:
        more = labels.get((owner.namespace, owner.pod))
        return replace(owner, pod_labels=more) if more else owner

    allocation = owners.allocation
    return replace(
        owners,
        by_pid={pid: labelled(owner) for pid, owner in owners.by_pid.items()},
        allocation=allocation
        and Allocation(
            {core: labelled(owner) for core, owner in allocation.cores.items()},
            {device: labelled(owner) for device, owner in allocation.devices.items()},
            allocation.highest_core,
        ),
    )
