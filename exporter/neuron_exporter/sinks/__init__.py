"""Destinations of snapshots."""
