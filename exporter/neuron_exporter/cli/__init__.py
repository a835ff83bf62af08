"""The command line: the main function, and one module per command."""
