"""Requests that wait to be sent, on disk where possible, else in memory."""
