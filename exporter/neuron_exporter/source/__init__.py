"""Where lines come from: neuron-monitor as a child, standard input, or a file."""

from neuron_exporter.source.neuron_monitor import NeuronMonitorSource
from neuron_exporter.source.replay import FileSource, StdinSource
from neuron_exporter.source.stream import Listener, Source, SourceError

__all__ = ["FileSource", "Listener", "NeuronMonitorSource", "Source", "SourceError", "StdinSource"]
