"""Readers of the driver's files below /sys and of the kernel's log."""
