"""The HTTP side: a bounded server, and what it answers."""

from exporter.web.access import OPEN, Access, taken_away
from exporter.web.handler import Request, Response, Route
from exporter.web.listening import BindError
from exporter.web.server import Server

__all__ = ["OPEN", "Access", "BindError", "Request", "Response", "Route", "Server", "taken_away"]
