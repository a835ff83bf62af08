"""The Prometheus rules: one source for the rule files and for Kubernetes' PrometheusRule."""
