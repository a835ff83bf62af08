"""A program with neuron-monitor's flags and output that needs no Neuron hardware."""
