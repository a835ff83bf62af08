"""Where lines come from: neuron-monitor as a child, standard input, or a file."""

from exporter.source.files import FileSource, StdinSource
from exporter.source.lines import Listener, Source, SourceError
from exporter.source.neuron_monitor import NeuronMonitorSource

__all__ = ["FileSource", "Listener", "NeuronMonitorSource", "Source", "SourceError", "StdinSource"]
