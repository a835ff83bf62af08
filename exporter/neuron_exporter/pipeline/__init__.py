"""Build the parts from a configuration, and process lines into snapshots for the sinks."""
