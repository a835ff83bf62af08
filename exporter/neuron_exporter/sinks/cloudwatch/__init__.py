"""CloudWatch sink: selected metrics within a budget, as distributions over aligned windows."""
