"""The running daemon: its threads, signals, routes and reloads."""
