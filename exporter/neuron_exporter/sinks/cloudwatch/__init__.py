"""A chosen, affordable subset to CloudWatch, as distributions over aligned windows."""
