"""The HTTP side: a bounded server, and what it answers."""

from exporter.web.server import BindError, Request, Response, Route, Server

__all__ = ["BindError", "Request", "Response", "Route", "Server"]
