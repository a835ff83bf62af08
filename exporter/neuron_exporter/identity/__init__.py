"""The identity of this machine, and the owners of its Neuron cores."""
