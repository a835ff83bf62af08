"""Tables of facts, each with its source and date."""
