"""Grafana's files: dashboards, rules, provisioning, and what writes them."""
