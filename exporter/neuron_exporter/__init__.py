"""Neuron Exporter: the truth about AWS Neuron accelerators, in Prometheus and CloudWatch."""

__version__ = "0.1.0"
