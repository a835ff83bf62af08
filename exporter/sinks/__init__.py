"""Where snapshots go."""
