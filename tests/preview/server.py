"""The part of grafana-server's HTTP API that its front end needs to show dashboards.

Everything that a dashboard shows is drawn by Grafana's own front end from the answers of a real
Prometheus, or from what exporters have published to CloudWatch. It is no proof of provisioning, of
alerting, or of the data sources of Grafana's server. A request that is not known here is answered
with 404, which the browser's console shows as an error.
"""

from __future__ import annotations

import json
import mimetypes
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.preview.cloudwatch import CloudWatchSource
from tests.preview.frames import PrometheusSource
from tests.preview.front_end import PROMETHEUS, FrontEnd
from tests.support import dashboards

_FOLDER = {"id": 1, "uid": "neuron", "title": "Neuron", "url": ""}
_EMPTY_OBJECT = (
    *("/api/user/preferences", "/api/org/preferences", "/api/folders/", "/api/frontend-metrics"),
)
_EMPTY_LIST = ("/api/annotations", "/api/user/orgs", "/api/plugins", "/api/query-history")


class Preview:
    """Grafana's API over its data sources."""

    def __init__(
        self, front_end: FrontEnd, prometheus: PrometheusSource, cloudwatch: CloudWatchSource
    ) -> None:
        self.front_end = front_end
        self.prometheus = prometheus
        self.cloudwatch = cloudwatch
        self.url = ""

    def dashboards(self) -> dict[str, dict[str, Any]]:
        """Return the dashboards as they are on the disk now, by uid."""
        documents = map(dashboards.load, sorted(dashboards.FOLDER.glob("*.json")))
        return {str(each["uid"]): each for each in documents}

    def dashboard(self, uid: str) -> dict[str, Any] | None:
        """Return a dashboard with what the server adds."""
        document = self.dashboards().get(uid)
        if document is None:
            return None
        rights = dict.fromkeys(("canSave", "canEdit", "canAdmin", "canStar", "canDelete"), False)
        meta = {
            "type": "db",
            "slug": uid,
            "url": f"/d/{uid}/{uid}",
            "folderUid": _FOLDER["uid"],
            "folderTitle": _FOLDER["title"],
            "provisioned": True,
            "version": 1,
            **rights,
        }
        # A picture shows one moment: nothing is asked again while it is drawn.
        return {"dashboard": {**document, "id": 1, "version": 1, "refresh": ""}, "meta": meta}

    def search(self, tags: list[str]) -> list[dict[str, Any]]:
        """Return the dashboards with all of these tags."""
        return [
            {
                "id": number,
                "uid": uid,
                "title": document["title"],
                "url": f"/d/{uid}/{uid}",
                "type": "dash-db",
                "tags": document.get("tags", []),
            }
            for number, (uid, document) in enumerate(self.dashboards().items(), 1)
            if set(tags) <= set(document.get("tags", []))
        ]

    def queries(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the results of a panel's queries."""
        start, end = (float(body[key]) / 1000 for key in ("from", "to"))
        queries: list[dict[str, Any]] = body["queries"]
        if all(each["datasource"]["uid"] == PROMETHEUS for each in queries):
            return {each["refId"]: self.prometheus.query(each, start, end) for each in queries}
        return self.cloudwatch.queries(queries, start, end)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, preview: Preview, *arguments: Any) -> None:
        self._preview = preview
        super().__init__(*arguments)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _answer(self, body: bytes) -> None:
        address = urlsplit(self.path)
        path = address.path
        parameters = parse_qs(address.query)
        if path.startswith("/public/"):
            self._send_file(self._preview.front_end.file(path.removeprefix("/public/")))
        elif path.startswith(("/api/", "/apis/")):
            self._send_json(self._api(path, parameters, body))
        else:
            theme = (parameters.get("theme") or ["dark"])[0]
            source = self._preview.prometheus
            page = self._preview.front_end.page(theme, self._preview.url, source.scrape_interval)
            self._send(200, page.encode(), "text/html")

    def _api(self, path: str, parameters: Mapping[str, list[str]], body: bytes) -> Any:
        """Return the document of an address, None if there is none."""
        resources = f"/api/datasources/uid/{PROMETHEUS}/resources/"
        if path == "/api/ds/query":
            return {"results": self._preview.queries(json.loads(body))}
        if path.startswith("/api/dashboards/uid/"):
            return self._preview.dashboard(path.rpartition("/")[2])
        if path.rstrip("/") == "/api/search":
            return self._preview.search(parameters.get("tag", []))
        if path.startswith(resources):
            return self._preview.prometheus.resource(
                path.removeprefix(resources), urlsplit(self.path).query, body
            )
        if "/resources/" in path:
            return self._preview.cloudwatch.resource(path.rpartition("/")[2], parameters)
        if path.startswith("/api/prometheus/grafana/"):
            return {"status": "success", "data": {"groups": []}}
        if path.startswith(_EMPTY_OBJECT):
            return {}
        return [] if path.startswith(_EMPTY_LIST) else None

    def _send_json(self, document: Any) -> None:
        status = 404 if document is None else 200
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send_file(self, path: Path | None) -> None:
        if path is None:
            self._send(404, b"", "text/plain")
        else:
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            self._send(200, path.read_bytes(), kind, "max-age=3600")

    def _send(self, status: int, body: bytes, kind: str, cache: str = "no-cache") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", cache)
        with suppress(ConnectionError):  # the browser has left
            self.end_headers()
            self.wfile.write(body)


@contextmanager
def preview_server(
    front_end: Path,
    prometheus: str,
    scrape_interval: float,
    published: Sequence[Mapping[str, Any]] = (),
) -> Iterator[Preview]:
    """Serve the dashboards on a free port of the loopback interface.

    Args:
        published: requests of PutMetricData.
    """
    preview = Preview(
        FrontEnd(front_end),
        PrometheusSource(prometheus, scrape_interval),
        CloudWatchSource(published),
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, preview))
    server.daemon_threads = True
    preview.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield preview
    finally:
        server.shutdown()
        server.server_close()
