"""Routes for the files of the page. They need no build step and load nothing from elsewhere."""

from __future__ import annotations

from functools import partial
from importlib.resources import files

from neuron_exporter.web.handler import Request, Response, Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def page_routes() -> dict[str, Route]:
    """Return a route for each file.

    The page itself is at `/` and links the others with relative URLs, so that it also works below
    a path of a reverse proxy.
    """
    routes: dict[str, Route] = {}
    for file in sorted(files(__package__).iterdir(), key=lambda each: each.name):
        _, dot, ending = file.name.rpartition(".")
        if dot + ending in _TYPES:
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            routes[path] = partial(_serve, Response(file.read_bytes(), _TYPES[dot + ending]))
    return routes


def _serve(response: Response, _: Request) -> Response:
    return response
