"""The running exporter: threads, signals, HTTP routes and reloads."""
