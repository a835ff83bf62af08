"""Delivery of requests, shared by sinks that send: spool, sender, deadline, jitter, status."""
