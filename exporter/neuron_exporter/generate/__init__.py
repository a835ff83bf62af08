"""Generators of files that are committed or handed to others, each from a single source."""

import json


def as_json(document: object) -> str:
    """Return the document as JSON text."""
    return json.dumps(document, indent=2) + "\n"
