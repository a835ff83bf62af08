"""OTLP sink: the metrics of Prometheus, sent to a collector or to CloudWatch."""
