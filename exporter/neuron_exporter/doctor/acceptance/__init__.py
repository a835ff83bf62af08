"""Acceptance of a machine of a new kind: which unproven assumptions of the exporter hold on it."""
