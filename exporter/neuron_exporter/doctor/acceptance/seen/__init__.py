"""What one run of the acceptance has seen of the reports."""
