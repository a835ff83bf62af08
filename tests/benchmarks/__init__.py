"""Speed and size, each as a ratio to the usual way, measured side by side in one run."""
