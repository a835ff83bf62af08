"""Pods of processes by the names of containers' logs, and labels of pods by the Kubernetes API."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from neuron_exporter.identity.owners.container_logs import PodsByContainer
from neuron_exporter.identity.owners.pod_labels import MOST_LABELS, PodLabels
from neuron_exporter.model import Allocation, Owner, Owners
from tests.support.certificates import Authority
from tests.support.cgroups import process_in

ID, OTHER = "1" * 64, "2" * 64
UID = "8dbc5577-d0e2-4706-8787-57d52c03ddf2"
TRAIN = Owner(namespace="ml", pod="train-0", container="main")


class Node:
    """A folder in the place of /proc, and one with the links of logs."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.logs = folder / "containers"
        self.proc.mkdir()
        self.logs.mkdir()

    def run(self, pid: int, cgroup: str) -> None:
        """Have a process in this cgroup."""
        (self.proc / str(pid)).mkdir()
        (self.proc / str(pid) / "cgroup").write_text(f"0::{cgroup}\n")

    def log(self, name: str) -> None:
        """Have a link of this name, whose file the container need not see."""
        (self.logs / name).symlink_to("/var/log/pods/elsewhere/0.log")


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Nobody yet."""
    return Node(tmp_path)


def of(container: str) -> str:
    """A cgroup as containerd names it."""
    slice = f"kubepods-pod{UID.replace('-', '_')}.slice"
    return f"/kubepods.slice/{slice}/cri-containerd-{container}.scope"


# Names


def test_a_process_is_its_containers_pods(node: Node) -> None:
    """Names of pods and containers may have dashes, names of pods dots as well."""
    node.run(10, of(ID))
    node.run(11, of(OTHER))
    node.run(12, "/system.slice/kubelet.service")
    node.log(f"train-0_ml_main-{ID}.log")
    node.log(f"a.b-c_kube-system_side-car-2-{OTHER}.log")
    node.log("README")
    told = PodsByContainer(node.logs, node.proc).ask(frozenset({10, 11, 12, 13}))
    assert told.why == ""
    assert told.owners.by_pid == {
        10: TRAIN,
        11: Owner(namespace="kube-system", pod="a.b-c", container="side-car-2"),
    }


def test_a_container_that_is_new_is_looked_for(node: Node) -> None:
    """The folder is read again for a container that was not there before."""
    names = PodsByContainer(node.logs, node.proc)
    node.run(10, of(ID))
    assert names.ask(frozenset({10})).owners.by_pid == {}
    node.log(f"train-0_ml_main-{ID}.log")
    assert names.ask(frozenset({10})).owners.by_pid == {10: TRAIN}


def test_a_real_process_is_its_pods(node: Node) -> None:
    """What the kernel tells of a process in a pod's cgroup leads to the pod."""
    node.log(f"train-0_ml_main-{ID}.log")
    with process_in(f"/kubepods/burstable/pod{UID}/{ID}") as pid:
        assert PodsByContainer(node.logs).ask(frozenset({pid})).owners.by_pid == {pid: TRAIN}


def test_a_folder_that_is_not_mounted_is_said(node: Node) -> None:
    """Only where there is a pod's process to be named."""
    names = PodsByContainer(node.logs / "nowhere", node.proc)
    assert names.ask(frozenset({10})).why == ""
    node.run(10, of(ID))
    assert names.ask(frozenset({10})).why == f"{node.logs}/nowhere: No such file or directory"


# Labels


class Api:
    """Kubernetes' API as far as pods' metadata go, over TLS."""

    def __init__(self, folder: Path) -> None:
        self.account = folder
        self.labels: dict[str, Mapping[str, object]] = {}
        self.asked: list[str] = []
        self.status = 0
        self.address = ""
        (folder / "token").write_text("secret\n")

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """The metadata of a pod."""
        self.asked.append(handler.path)
        labels = self.labels.get(handler.path.rpartition("/")[2])
        allowed = handler.headers["Authorization"] == "Bearer secret"
        assert "PartialObjectMetadata" in handler.headers["Accept"]
        status = self.status or (401 if not allowed else 404 if labels is None else 200)
        body = json.dumps({"metadata": {"labels": labels}}).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@contextmanager
def _serving(folder: Path) -> Iterator[Api]:
    authority = Authority(folder, "ca")
    authority.file.rename(folder / "ca.crt")
    certificate, key = authority.sign("kubernetes")
    api = Api(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    api.address = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API that knows one pod."""
    with _serving(tmp_path) as api:
        api.labels["train-0"] = {
            "team": "vision",
            "app.kubernetes.io/name": "resnet",
            "controller-revision-hash": "abc",
        }
        yield api


OWNERS = Owners(
    by_pid={7: TRAIN}, allocation=Allocation({0: TRAIN}, {3: Owner(namespace="ml", pod="gone")})
)


def test_labels_that_are_allowed_are_added(api: Api) -> None:
    """Their names are made fit as kube-state-metrics does; a pod that has gone has none."""
    labels = PodLabels(["team", "app.kubernetes.io/*"], api.address, api.account)
    owners, why = labels.add(OWNERS)
    assert why == ""
    expected = (("label_app_kubernetes_io_name", "resnet"), ("label_team", "vision"))
    assert owners.by_pid[7].labels() == (*TRAIN.labels(), *expected)
    assert owners.allocation is not None
    assert owners.allocation.cores[0].pod_labels == expected
    assert owners.allocation.devices[3].pod_labels == ()
    assert sorted(api.asked) == [
        "/api/v1/namespaces/ml/pods/gone",
        "/api/v1/namespaces/ml/pods/train-0",
    ]


def test_a_pod_is_asked_for_once_in_a_while(api: Api) -> None:
    """A round costs the API nothing; a label that changes is seen within five minutes."""
    now = [0.0]
    labels = PodLabels(["team"], api.address, api.account, clock=lambda: now[0])
    for _ in range(10):
        labels.add(OWNERS)
    assert len(api.asked) == 2
    api.labels["train-0"] = {"team": "speech"}
    now[0] += 300
    owners, _ = labels.add(OWNERS)
    assert owners.by_pid[7].pod_labels == (("label_team", "speech"),)


@pytest.mark.parametrize(
    ("status", "says"), [(403, "the answer was 403"), (500, "the answer was 500")]
)
def test_a_refusal_is_said_and_not_repeated_soon(api: Api, status: int, says: str) -> None:
    """The pod is named all the same, without its labels; the API is left alone for a while."""
    now = [0.0]
    labels = PodLabels(["team"], api.address, api.account, clock=lambda: now[0])
    api.status = status
    owners, why = labels.add(OWNERS)
    assert (owners.by_pid, says in why) == (OWNERS.by_pid, True)
    labels.add(OWNERS)
    assert len(api.asked) == 1
    api.status = 0
    now[0] += 30
    assert labels.add(OWNERS)[1] == ""


def test_an_api_that_is_not_there_or_not_known_is_said(api: Api, tmp_path: Path) -> None:
    """A port where nobody listens, an account without its files, an authority that is another."""
    assert "Connection refused" in PodLabels(["*"], "127.0.0.1:1", api.account).add(OWNERS)[1]
    assert "No such file" in PodLabels(["*"], api.address, tmp_path / "none").add(OWNERS)[1]
    other = tmp_path / "other"
    other.mkdir()
    Authority(other, "ca").file.rename(other / "ca.crt")
    (other / "token").write_text("secret")
    assert "CERTIFICATE_VERIFY_FAILED" in PodLabels(["*"], api.address, other).add(OWNERS)[1]


def test_labels_are_bounded(api: Api) -> None:
    """However many a pod has, and whatever they hold."""
    api.labels["train-0"] = {**{f"l{n}": "x" for n in range(100)}, "empty": "", "number": 7}
    owners, _ = PodLabels(["*"], api.address, api.account).add(OWNERS)
    assert len(owners.by_pid[7].pod_labels) == MOST_LABELS
