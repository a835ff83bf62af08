"""The driver's files below /sys: which there are, and what they say."""
