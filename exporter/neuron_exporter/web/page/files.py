"""The page's files as they are served: no build step, nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files as resources

from neuron_exporter.web.handler import Request, Response, Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def files() -> dict[str, Route]:
    """A route for each file; the page itself is at `/`, and names the others relative to it, so
    that it also works below a path of a proxy."""
    routes: dict[str, Route] = {}
    for file in sorted(resources(__package__).iterdir(), key=lambda each: each.name):
        _, dot, ending = file.name.rpartition(".")
        if dot + ending in _TYPES:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            routes[path] = _serving(Response(file.read_bytes(), _TYPES[dot + ending]))
    return routes


def _serving(response: Response) -> Route:
    def serve(_: Request) -> Response:
        return response

    return serve
