"""Prometheus and CloudWatch exporter for AWS Neuron devices (Inferentia and Trainium)."""

__version__ = "0.1.0"
