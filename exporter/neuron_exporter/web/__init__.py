"""The HTTP side: a bounded server, and what it answers."""

from neuron_exporter.web.access import OPEN, Access, taken_away
from neuron_exporter.web.handler import Request, Response, Route
from neuron_exporter.web.listening import BindError
from neuron_exporter.web.server import Server

__all__ = ["OPEN", "Access", "BindError", "Request", "Response", "Route", "Server", "taken_away"]
