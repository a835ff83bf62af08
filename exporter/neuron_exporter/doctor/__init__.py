"""The `doctor` command: check the exporter and its machine, one module per subject."""
