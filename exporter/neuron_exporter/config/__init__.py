"""Configuration: its schema, loading and validation, and following its file."""

from neuron_exporter.config.load import ConfigError, LoadedConfig, Override, load
from neuron_exporter.config.schema import Config
from neuron_exporter.config.watcher import ConfigWatcher
from neuron_exporter.validation import suggest

__all__ = [
    "Config",
    "ConfigError",
    "ConfigWatcher",
    "LoadedConfig",
    "Override",
    "load",
    "suggest",
]
