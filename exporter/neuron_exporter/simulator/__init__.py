"""A program in neuron-monitor's shape: the same flags, the same stream, no hardware."""
