"""The configuration: what a legal one is, and where its values come from."""

from exporter.config.changes import Change, changes, cold
from exporter.config.load import ConfigError, Given, Loaded, load, suggest
from exporter.config.origin import Origin
from exporter.config.schema import Config

__all__ = [
    "Change",
    "Config",
    "ConfigError",
    "Given",
    "Loaded",
    "Origin",
    "changes",
    "cold",
    "load",
    "suggest",
]
