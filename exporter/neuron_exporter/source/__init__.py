"""Where lines come from: neuron-monitor as a child, standard input, or a file."""

from neuron_exporter.source.files import FileSource, StdinSource
from neuron_exporter.source.lines import Listener, Source, SourceError
from neuron_exporter.source.neuron_monitor import NeuronMonitorSource

__all__ = ["FileSource", "Listener", "NeuronMonitorSource", "Source", "SourceError", "StdinSource"]
