"""Types that access control and its parts, TLS and passwords, share."""

from __future__ import annotations

from typing import NamedTuple


class BusyError(Exception):
    """Too many passwords are being compared already."""


class Protection(NamedTuple):
    """The value of a setting that protects, as text, and what it admits; None is everything."""

    text: str
    admits: frozenset[str] | None
