"""The `cost` command: estimate what CloudWatch bills, and report it."""
