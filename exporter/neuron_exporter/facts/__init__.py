"""Tables with their source and date, and nothing else."""
