"""Speed and size of the exporter beside the usual way, measured side by side in one run."""
