"""The configuration: what a legal one is, and where its values come from."""

from neuron_exporter.config.changes import Change, changes, cold
from neuron_exporter.config.load import ConfigError, Given, Loaded, load, suggest
from neuron_exporter.config.schema import Config
from neuron_exporter.config.watcher import Origin

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
