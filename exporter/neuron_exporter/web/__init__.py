"""The HTTP server: bounded, with TLS and basic authentication."""

from neuron_exporter.web.access import UNPROTECTED, Access, removed_protections
from neuron_exporter.web.handler import Request, Response, Route
from neuron_exporter.web.server import BindError, Server

__all__ = [
    "UNPROTECTED",
    "Access",
    "BindError",
    "Request",
    "Response",
    "Route",
    "Server",
    "removed_protections",
]
