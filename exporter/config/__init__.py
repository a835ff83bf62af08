"""The configuration: what a legal one is, and where its values come from."""

from exporter.config.load import ConfigError, Given, Loaded, load, suggest
from exporter.config.schema import Config

__all__ = ["Config", "ConfigError", "Given", "Loaded", "load", "suggest"]
