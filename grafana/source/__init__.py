"""What the dashboards show: one module for each, and what they are made of."""
