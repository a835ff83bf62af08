"""The Kubernetes API: the metadata of pods, over TLS."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.support.certificates import CertificateAuthority
from tests.support.http import serving


class KubernetesApi:
    """The metadata of pods in the Kubernetes API, over TLS."""

    def __init__(self, folder: Path) -> None:
        self.account = folder
        self.labels: dict[str, Mapping[str, object]] = {}
        self.requests: list[str] = []
        self.status = 0
        self.address = ""
        (folder / "token").write_text("secret\n")

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Return the metadata of a pod."""
        self.requests.append(handler.path)
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
def kubernetes_api(folder: Path) -> Iterator[KubernetesApi]:
    """Run an API without pods; the folder is a service account that may read them."""
    authority = CertificateAuthority(folder, "ca")
    authority.file.rename(folder / "ca.crt")
    certificate, key = authority.sign("kubernetes")
    api = KubernetesApi(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.handle(self)

        def log_message(self, *_: object) -> None:
            pass

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with serving(Handler, tls=tls) as url:
        api.address = url.removeprefix("https://")
        yield api
