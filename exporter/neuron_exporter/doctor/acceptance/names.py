"""Names of fields that the exporter does not know, as the acceptance shows them."""

from __future__ import annotations

import re

OTHER_NAME = "a name of another form"
"""Replacement of a name that does not look like those of Neuron's fields: it may be an id."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


def harmless_name(name: str) -> str:
    """Return the name of an unknown field, unless it may identify something."""
    return name if _NAME.fullmatch(name) else OTHER_NAME
