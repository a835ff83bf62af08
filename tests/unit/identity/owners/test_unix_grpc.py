"""Calls of gRPC methods: limits, and what other servers do."""

from __future__ import annotations

import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_exporter.identity.owners.pod_resources_pb2 import (
    EmptyRequest,
    ListPodResourcesResponse,
)
from neuron_exporter.identity.owners.unix_grpc import MAX_BYTES, CallError, call
from tests.support.kubelet import CORE, SERVICE, PodResource, kubelet_server

PATIENT = 60.0
LIST = f"{SERVICE}/List"


def list_pods(path: Path, timeout: float = PATIENT) -> ListPodResourcesResponse:
    """Call the kubelet's List."""
    return call(str(path), LIST, EmptyRequest(), ListPodResourcesResponse, timeout)


def test_size_of_answers_is_limited(tmp_path: Path) -> None:
    almost = MAX_BYTES - 64 * 1024
    with kubelet_server(tmp_path, PodResource("p" * almost, CORE, [0])) as kubelet:
        assert len(list_pods(kubelet.socket).pod_resources[0].name) == almost
        kubelet.allocated = [PodResource("p" * MAX_BYTES, CORE, [0])]
        with pytest.raises(CallError, match=r": the answer is larger than 16 MiB$"):
            list_pods(kubelet.socket)


def test_full_backlog(tmp_path: Path) -> None:
    """A server that no longer accepts connections is an error, not a hang."""
    path = tmp_path / "kubelet.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        listener.listen(0)
        waiting.connect(str(path))
        with pytest.raises(CallError, match=f"^{path}: "):
            list_pods(path)


@contextmanager
def answering(path: Path, answer: bytes) -> Iterator[None]:
    """Run a server that sends these bytes to one client, and closes if there are none."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                connection.sendall(answer)
                while answer and connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()
        path.unlink()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return an HTTP/2 frame."""
    head = struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream)
    return head + payload


def headers(*pairs: tuple[str, str]) -> bytes:
    """Return the frames that begin an answer: settings, and headers."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    return server.data_to_send() + frame(
        1, 4, 1, server.encoder.encode([(":status", "200"), *pairs])
    )


@pytest.mark.parametrize("answer", [b"\0", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_server_of_another_protocol(tmp_path: Path, answer: bytes) -> None:
    """Bytes that may be the beginning of a frame are waited for until the timeout."""
    path = tmp_path / "kubelet.sock"
    with (
        answering(path, answer),
        pytest.raises(CallError, match=f"^{path}: no answer within 0.3 s$"),
    ):
        list_pods(path, 0.3)


GRPC = ("content-type", "application/grpc+proto")
END = frame(0, 1, 1)


def message(content: bytes, *, compressed: bool = False, length: int | None = None) -> bytes:
    """Return a message as the last frame of an answer."""
    size = struct.pack(">I", len(content) if length is None else length)
    return frame(0, 1, 1, bytes([compressed]) + size + content)


OTHER_ANSWERS = {
    "none": (b"", "the server closed the connection"),
    "HTML": (headers(("content-type", "text/html")) + END, "UNKNOWN: "),
    "error": (headers(GRPC, ("grpc-status", "7"), ("grpc-message", "no%21")) + END, "DENIED: no!"),
    "status": (headers(GRPC, ("grpc-status", "many")) + END, "UNKNOWN: "),
    "compressed": (headers(GRPC) + message(b"x", compressed=True), "the answer is not gRPC"),
    "truncated": (headers(GRPC) + message(b"x", length=9), "the answer is not gRPC"),
    "not protobuf": (headers(GRPC) + message(b"\x0a\xff"), "the answer is not gRPC"),
    "reset": (headers(GRPC) + frame(3, 0, 1, b"\0\0\0\x08"), "reset by remote party"),
    "GOAWAY": (headers() + frame(7, 0, 0, bytes(8)), "Received GOAWAY"),
    "unknown frame": (headers(GRPC) + frame(0xFE, 0, 1, b"unknown"), "the server closed"),
}


@pytest.mark.parametrize("kind", OTHER_ANSWERS)
def test_other_answers(tmp_path: Path, kind: str) -> None:
    """Every failure names the socket and a reason."""
    path = tmp_path / "kubelet.sock"
    answer, reason = OTHER_ANSWERS[kind]
    with answering(path, answer), pytest.raises(CallError, match=f"^{path}: .*{reason}"):
        list_pods(path)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 10), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=40)
        )
    )
)
def test_random_frames(frames: list[tuple[int, int, int, bytes]]) -> None:
    """Whatever a server sends, the call ends with an answer or with a reason."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kubelet.sock"
        answer = headers(GRPC) + b"".join(frame(*each) for each in frames)
        with answering(path, answer), suppress(CallError):
            list_pods(path, 0.02)
