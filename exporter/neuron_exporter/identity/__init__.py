"""Who this machine is, and who holds its cores."""
