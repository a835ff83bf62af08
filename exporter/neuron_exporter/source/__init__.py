"""Sources of report lines: neuron-monitor as a child process, standard input, or a file."""

from neuron_exporter.source.neuron_monitor import NeuronMonitorSource
from neuron_exporter.source.replay import FileSource, StdinSource
from neuron_exporter.source.stream import Source, SourceError, SourceListener

__all__ = [
    "FileSource",
    "NeuronMonitorSource",
    "Source",
    "SourceError",
    "SourceListener",
    "StdinSource",
]
