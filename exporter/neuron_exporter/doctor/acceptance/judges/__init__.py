"""Functions that judge the assumptions from the evidence, one module per subject."""
