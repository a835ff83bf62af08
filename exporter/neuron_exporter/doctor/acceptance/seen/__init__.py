"""Evidence that one run of the acceptance has collected from the reports."""
