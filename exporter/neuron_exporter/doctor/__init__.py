"""Says what is wrong with this machine's exporter, and what to do: one module for each subject."""
